-- Whether a caller may pass to an alias that wants a password: asked of the API, which has its hash. HAProxy's own user
-- lists need a reload for every change, and its hashes would keep everybody waiting while one is computed.
-- txn.admission becomes the status that the API answers, or 503 when it does not.
core.register_action("alias_auth", { "http-req" }, function(txn, socket)
    local given = txn.http:req_get_headers()["authorization"]
    if given == nil or given[1] ~= nil then
        txn:set_var("txn.admission", 401)
        return
    end
    local asked, answer = pcall(function()
        return core.httpclient():get {
            url = "http://localhost/api/aliases/" .. txn:get_var("txn.alias") .. "/admission",
            dst = "unix@" .. socket,
            headers = { ["authorization"] = { given[0] }, ["x-alias-caller"] = { txn.f:src() } },
            timeout = 10000,
        }
    end)
    txn:set_var("txn.admission", asked and answer.status > 0 and answer.status or 503)
end, 1)
