-- Lays beside each request what it was and what its answer is, for the access log to take along.
-- Nobody waits for it: each part of a body goes on as soon as it was read. `BODY_BYTES_MAX` is put
-- before it: of a larger body only the first part is laid.
--
-- What is laid is text: ":" and "w" for all of the body or "c" for its first part, how many header
-- fields, "\n", their names and values, each before a "\n", and the body. Where that holds a NUL it
-- is all in base64, which begins with no ":"; a NUL would be taken for its end.

-- What runs some hundred times a second is compiled again and again, which costs more than it saves
-- (measured: 100 us a request).
jit.off()

local PLACE = "_copies"
-- Of all answers under way together; beyond it nothing is kept of those that go on.
local HEAP_KIB_MAX = 65536
local concat, find, heap_kib = table.concat, string.find, collectgarbage

local swept = 0

local function is_full()
  if heap_kib("count") < HEAP_KIB_MAX then
    return false
  end
  -- Some of it may be nobody's any more. To look for it takes a millisecond: once a second.
  local now = os.time()
  if now ~= swept then
    swept = now
    collectgarbage()
  end
  return heap_kib("count") >= HEAP_KIB_MAX
end

local function head_of(handle)
  local parts, n = {}, 0
  for name, value in pairs(handle:headers()) do
    parts[n + 1], parts[n + 2] = name, value
    n = n + 2
  end
  parts[n + 1] = ""
  return n / 2 .. "\n" .. concat(parts, "\n")
end

-- The first part of the body, and whether that is all; nothing where there is no room for it.
local function body_of(handle)
  local parts, n, room, whole = {}, 0, BODY_BYTES_MAX, true
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    if length > room then
      length, whole = room, false
    end
    if length > 0 then
      if is_full() then
        return nil
      end
      n = n + 1
      parts[n] = chunk:getBytes(0, length)
      room = room - length
    end
  end
  return n == 1 and parts[1] or concat(parts), whole
end

local function lay(handle, name, head, body, whole)
  local text = (whole and ":w" or ":c") .. head .. body
  if find(text, "\0", 1, true) then
    text = handle:base64Escape(text)
  end
  handle:streamInfo():dynamicMetadata():set(PLACE, name, text)
end

function envoy_on_request(handle)
  local head, body, whole = head_of(handle), "", true
  if handle:filterContext():get("bodies") then
    body, whole = body_of(handle)
  end
  if body then
    lay(handle, "request", head, body, whole)
  end
end

function envoy_on_response(handle)
  local head, body, whole = head_of(handle), "", true
  -- What comes after a change of protocols is no answer.
  if not find(head, "\n:status\n101\n", 1, true) then
    body, whole = body_of(handle)
  end
  if body then
    lay(handle, "answer", head, body, whole)
  end
end
