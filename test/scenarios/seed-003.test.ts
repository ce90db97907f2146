/** Walk-through 003, besides its rows (rows-003.ts): every field of the line that the page shows. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NODE_H1 } from './node-callers.ts'
import { WALK_003 } from './rows-003.ts'
import { walk } from './walk.ts'

/** Fields of the page's line; `istio_policy_status` is always null there and no longer part of Istio's format. */
const PAGE_FIELDS = [
  'trace_id',
  'upstream_host',
  'downstream_remote_address',
  'requested_server_name',
  'response_code',
  'upstream_service_time',
  'user_agent',
  'path',
  'route_name',
  'bytes_sent',
  'response_flags',
  'upstream_local_address',
  'duration',
  'upstream_cluster',
  'upstream_transport_failure_reason',
  'authority',
  'request_id',
  'protocol',
  'bytes_received',
  'method',
  'downstream_local_address',
  'start_time',
  'x_forwarded_for',
]

test('003: the line has the fields of the page, of their types', async (t) => {
  const [line = {}] = await walk(t, WALK_003, NODE_H1)
  const absent = PAGE_FIELDS.filter((field) => !(field in line))
  assert.deepEqual(absent, [])
  assert.equal(typeof line['upstream_service_time'], 'string')
  assert.equal(typeof line['duration'], 'number')
  assert.match(String(line['request_id']), /^[0-9a-f-]{36}$/)
  assert.match(String(line['start_time']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
})
