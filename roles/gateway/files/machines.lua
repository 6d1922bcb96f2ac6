-- Ends the open connections to a machine 1.8 seconds after HAProxy has noticed that it does not answer. HAProxy itself
-- (on-marked-down shutdown-sessions) does so at once, and requests that wait for a connection at that moment then end
-- without an answer; in 1.6 seconds they have had the page. An IDE survives a machine that is silent for a moment.
local LOOKS = 9
core.register_task(function()
    local silent = {}
    while true do
        core.msleep(200)
        for name, backend in pairs(core.backends) do
            if name:sub(1, 5) == "node_" then
                for _, server in pairs(backend.servers) do
                    local down = server:get_stats().status:sub(1, 4) == "DOWN"
                    silent[name] = down and (silent[name] or 0) + 1 or 0
                    if silent[name] == LOOKS then
                        server:shut_sess()
                    end
                end
            end
        end
    end
end)
