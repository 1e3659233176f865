-- Lays beside each request what it was and what its answer is, for the access log to take along.
-- Nobody waits for it: each part of a body goes on as soon as it was read. `BODY_BYTES_MAX` is put
-- before it: of a larger body only the first part is laid.
--
-- What is laid is the head, its names and values with "\n" between them; where there is a body, a
-- list of the head, the body, and what else is to be known of it: "c", only the first part, and "b",
-- in base64, as a body with a NUL is, which would be taken for its end. Head and body are two texts
-- as each copy of a body costs. Nothing is laid of a side for which there is no room: that it is
-- empty tells of it.

-- What runs some hundred times a second is compiled again and again, which costs more than it saves
-- (measured: 100 us a request).
jit.off()

local PLACE = "_copies"
-- Of all answers under way together; beyond it nothing is kept of those that go on.
local HEAP_KIB_MAX = 65536
-- So much of it may be of answers that were laid, before what is nobody's any more is looked for.
local LAID_KIB_MAX = 4096
local concat, find, heap_kib = table.concat, string.find, collectgarbage

local swept, laid_kib = 0, 0

local function is_full()
  if heap_kib("count") < HEAP_KIB_MAX then
    return false
  end
  -- Some of it may be nobody's any more: of what was laid it is known, of requests that were reset
  -- it is not. To look for it takes a millisecond: for those, once a second.
  local now = os.time()
  if now ~= swept or laid_kib > LAID_KIB_MAX then
    swept, laid_kib = now, 0
    collectgarbage()
  end
  return heap_kib("count") >= HEAP_KIB_MAX
end

-- One table for all heads: none is read while another one is.
local fields = {}

-- The head, and the value of its first field.
local function head_of(handle)
  local n = 0
  for name, value in pairs(handle:headers()) do
    fields[n + 1], fields[n + 2] = name, value
    n = n + 2
  end
  return concat(fields, "\n", 1, n), fields[2]
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

local function lay(handle, side)
  local laid, first = head_of(handle)
  -- What comes after a change of protocols is no answer.
  if first ~= "101" then
    local body, whole = body_of(handle)
    if not body then
      laid = ""
    elseif body ~= "" then
      local how = not whole and "c" or nil
      if find(body, "\0", 1, true) then
        body, how = handle:base64Escape(body), (how or "") .. "b"
      end
      laid_kib = laid_kib + #body / 1024
      laid = {laid, body, how}
    end
  end
  handle:streamInfo():dynamicMetadata():set(PLACE, side, laid)
end

function envoy_on_request(handle)
  lay(handle, "request")
end

function envoy_on_response(handle)
  lay(handle, "answer")
end
