-- Whether a caller's name and password open an alias or a workspace. The API has the hashes: HAProxy's own user lists need
-- a reload for every change, and its hashes would keep everybody waiting while one is computed.
-- txn.question is the path to ask, txn.proof the Authorization header to ask it with. txn.admission becomes the status
-- that the API answers, or 503 when it does not.
core.register_action("admission", { "http-req" }, function(txn, socket)
    local proof = txn:get_var("txn.proof")
    if proof == nil then
        txn:set_var("txn.admission", 401)
        return
    end
    local asked, answer = pcall(function()
        return core.httpclient():get {
            url = "http://localhost" .. txn:get_var("txn.question"),
            dst = "unix@" .. socket,
            headers = { ["authorization"] = { proof }, ["x-alias-caller"] = { txn.f:src() } },
            timeout = 10000,
        }
    end)
    txn:set_var("txn.admission", asked and answer.status > 0 and answer.status or 503)
end, 1)

-- What a visit to a sleeping workspace meets: txn.wake becomes the status that the API answers (api/core/wakes.py), or
-- 503 when it does not. The API may take some seconds while the workspace starts.
core.register_action("wake", { "http-req" }, function(txn, socket)
    local asked, answer = pcall(function()
        return core.httpclient():post {
            url = "http://localhost/api/visits/" .. txn:get_var("txn.id"),
            dst = "unix@" .. socket,
            headers = { ["x-alias-caller"] = { txn.f:src() } },
            timeout = 20000,
        }
    end)
    local status = asked and answer.status > 0 and answer.status or 503
    txn:set_var("txn.wake", status)
    if status == 202 then
        for _, name in ipairs({ "percent", "seconds" }) do
            local told = answer.headers["x-wake-" .. name]
            txn:set_var("txn.wake_" .. name, told and tonumber(told[0] or told[1]) or 0)
        end
    end
end, 1)
