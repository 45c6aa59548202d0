-- wrk sends the lines of a file as JSON bodies, one a request, and begins anew when they run out; without a file, GET.
-- The numbers go to standard output as one line of JSON; times are microseconds.

local requests, last = {}, 0

function init(arguments)
  if not arguments[1] then
    requests[1] = wrk.format()
    return
  end
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  for body in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format(nil, nil, nil, body)
  end
end

function request()
  last = last % #requests + 1
  return requests[last]
end

function done(summary, latency, _)
  local failed = summary.errors
  print(string.format('{"requests": %d, "duration_us": %d, "p50_us": %.1f, "p99_us": %.1f, "errors": %d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    failed.status + failed.connect + failed.read + failed.write + failed.timeout))
end
