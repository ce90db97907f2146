/**
 * What a span and a line of the audit stream cost, in CPU per request, and what they cost those who have neither.
 * `./bin/sallyport-node bench/spans-and-audit.ts`
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { NO_PEER } from '../src/core/attributes.ts'
import { parentOf, traceIdOf, withSpan } from '../src/core/trace-context.ts'
import { auditLine } from '../src/observe/audit/lines.ts'
import { AuditStream } from '../src/observe/audit/stream.ts'
import { newRecord } from '../src/observe/record.ts'
import { encodingFor } from '../src/observe/tracing/encode.ts'
import { compileTags } from '../src/observe/tracing/tags.ts'

const connection = {
  id: 1,
  openedAt: 0,
  remoteAddress: '10.0.0.1',
  remotePort: 1,
  localAddress: '10.0.0.2',
  localPort: 80,
  gatewayPort: 80,
  peer: NO_PEER,
  tls: null,
}
const headers = ['user-agent', 'curl/8', 'accept', '*/*', 'x-request-id', 'a'.repeat(36)]
const record = Object.assign(newRecord('http', connection, Date.now()), {
  method: 'GET',
  path: '/politics?page=2',
  authority: 'edition.cnn.com',
  protocol: 'HTTP/1.1',
  requestHeaders: headers,
  requestId: 'a'.repeat(36),
  responseCode: 403,
  reason: 'rbac_denied',
  upstreamCluster: 'outbound|80||edition.cnn.com',
})
const identity = {
  name: 'istio-egressgateway',
  namespace: 'istio-system',
  labels: { app: 'istio-egressgateway' },
  trustDomain: 'cluster.local',
  hostname: 'gw-0',
}
const tags = compileTags({ identity, istioTags: true, customTags: [], maxPathLength: 256 })
const encoding = encodingFor(
  {
    type: 'opentelemetry',
    name: 'otel',
    source: { file: '', line: 0, col: 0 },
    service: { namespace: null, host: 'otel', port: 4318 },
    path: '/v1/traces',
    timeoutMs: 1000,
    maxTagLength: 256,
    headers: [],
    resource: [],
  },
  identity,
)
const span = { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7', parentSpanId: null }
const dir = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
const stream = new AuditStream({ path: join(dir, 'audit.log') })

function measure(what: string, times: number, act: () => unknown): void {
  for (let i = 0; i < times / 5; i += 1) act()
  const before = process.cpuUsage()
  for (let i = 0; i < times; i += 1) act()
  const { user, system } = process.cpuUsage(before)
  process.stdout.write(`${((user + system) / times).toFixed(2).padStart(7)} µs  ${what}\n`)
}

measure('a refusal: its line, written to a file', 50_000, () => stream.write(auditLine(record) ?? ''))
measure('a sampled request: its span as text', 50_000, () => encoding.span(record, span, tags(record)))
measure('a sampled request: its fields with our span', 500_000, () => withSpan(headers, span, { w3c: true }))
measure('tracing on, not sampled: what has the caller said', 500_000, () => parentOf(headers))
measure('tracing off: the trace id for the log', 2_000_000, () => traceIdOf(headers))
await stream.close()
rmSync(dir, { recursive: true })
