/**
 * What a record's access-log line costs, in CPU µs: formatting and handing over to a file that is really written, the
 * flush included. All logs in one run, interleaved, the median of the rounds. What a whole request costs with each of
 * them is `npm run bench -- W8`.
 *
 *     bin/sallyport-node bench/access-log.ts
 */
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { AccessLog } from '../src/app/access-log.ts'
import type { Connection } from '../src/core/attributes.ts'
import type { AccessLogModel } from '../src/model/telemetry.ts'
import { compileAccessLog } from '../src/observe/access-log/format.ts'
import { compileFilter } from '../src/observe/cel-attributes.ts'
import { type ExchangeRecord, newRecord } from '../src/observe/record.ts'
import { spiffePeer } from '../src/testing/policy-fixtures.ts'
import { LOG_FORMATS } from './contenders/log-formats.ts'

const RECORDS = 512
/** Lines between two turns of the event loop: what a busy gateway finishes in some milliseconds. */
const CHUNK = 256
const LINES = 40_960
/** Waits for the disk, or lines are dropped: 8 MB may wait. */
const FLUSH = 4096
const ROUNDS = 9

/** As the exchange leaves them: a few hosts and callers, paths and ids that differ. */
function records(): readonly ExchangeRecord[] {
  const connections = Array.from(
    { length: 16 },
    (_, id): Connection => ({
      id,
      openedAt: 0,
      remoteAddress: `10.1.0.${id}`,
      remotePort: 40_000 + id,
      localAddress: '10.1.0.250',
      localPort: 8080,
      gatewayPort: 80,
      peer: spiffePeer(`cluster.local/ns/team-${id % 4}/sa/app`),
      tls: {
        sni: 'outbound_.80_._.istio-egressgateway.istio-system.svc.cluster.local',
        alpn: 'istio-http/1.1',
        version: 'TLSv1.3',
        cipher: 'TLS_AES_256_GCM_SHA384',
      },
    }),
  )
  return Array.from({ length: RECORDS }, (_, i) => {
    const host = `host-${i % 8}.example.com`
    const id = `${String(i).padStart(8, '0')}-7b1c-4f6e-9a53-0d6c1f2e3a4b`
    return Object.assign(newRecord('http', connections[i % 16] as Connection, 1_700_000_000_000 + i), {
      method: i % 5 === 0 ? 'POST' : 'GET',
      path: `/api/v1/items/${i}?page=${i % 10}`,
      protocol: 'HTTP/1.1',
      authority: host,
      requestHeaders: ['host', host, 'user-agent', 'curl/8.5.0', 'accept', '*/*', 'x-request-id', id],
      responseHeaders: ['content-type', 'application/json', 'content-length', '1024', 'server', 'sallyport'],
      requestId: id,
      xForwardedFor: `10.1.0.${i % 16}`,
      responseCode: i % 50 === 0 ? 404 : 200,
      responseCodeDetails: 'via_upstream',
      bytesSent: 1024,
      durationMs: 1.5 + (i % 7),
      requestDurationMs: 0.4,
      responseDurationMs: 1.2,
      upstreamServiceTimeMs: 1 + (i % 5),
      upstreamHost: `203.0.113.${i % 8}:80`,
      upstreamLocalAddress: `10.1.0.250:${50_000 + (i % 64)}`,
      upstreamCluster: `outbound|80||${host}`,
      upstreamProtocol: 'HTTP/1.1',
      upstreamAttempts: 1,
      routeName: 'default',
      decision: {
        allow: true,
        outcome: 'allow',
        policy: `ns[istio-system]-policy[team-${i % 4}]-rule[0]`,
        source: null,
        shadow: null,
      },
    } as const)
  })
}

type Log = Pick<AccessLogModel, 'encoding' | 'format' | 'omitEmptyValues' | 'jsonStyle' | 'filter'>

const PLAIN: Log = { encoding: 'JSON', format: '', omitEmptyValues: false, jsonStyle: 'typed', filter: null }

/** null: off. */
const LOGS: Readonly<Record<string, Log | null>> = {
  ...Object.fromEntries(
    Object.entries(LOG_FORMATS).map(([name, { accessLogFile, accessLogEncoding, accessLogFormat = '' }]) => [
      name,
      accessLogFile === ''
        ? null
        : { ...PLAIN, encoding: accessLogEncoding === 'TEXT' ? 'TEXT' : 'JSON', format: accessLogFormat },
    ]),
  ),
  'default JSON, strings': { ...PLAIN, jsonStyle: 'strings' },
  'default JSON, omitEmptyValues': { ...PLAIN, omitEmptyValues: true },
  'default JSON, filter response.code >= 400': { ...PLAIN, filter: 'response.code >= 400' },
}

function open(dir: string, index: number, log: Log | null): AccessLog {
  const accessLog = new AccessLog((error) => {
    throw error
  })
  const file = path.join(dir, `${index}.log`)
  const plan =
    log === null
      ? []
      : [
          {
            path: file,
            filter: log.filter === null ? null : compileFilter(log.filter),
            print: compileAccessLog(log.encoding, log.format, log).into,
          },
        ]
  accessLog.adopt(accessLog.prepare({ accessLogs: plan }), { accessLogs: plan })
  return accessLog
}

/** CPU microseconds per record. */
async function round(log: AccessLog, all: readonly ExchangeRecord[]): Promise<number> {
  const before = process.cpuUsage()
  for (let line = 0; line < LINES; line += 1) {
    log.write(all[line % RECORDS] as ExchangeRecord)
    if (line % FLUSH === FLUSH - 1) await log.flush()
    else if (line % CHUNK === CHUNK - 1) await new Promise((resolve) => setImmediate(resolve))
  }
  await log.flush()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / LINES
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

const dir = mkdtempSync(path.join(os.tmpdir(), 'sallyport-bench-log-'))
try {
  const all = records()
  const logs = Object.entries(LOGS).map(([name, log], index) => ({
    name,
    log: open(dir, index, log),
    costs: [] as number[],
  }))
  for (let i = 0; i <= ROUNDS; i += 1)
    for (const { log, costs } of logs) {
      const cost = await round(log, all)
      // The first round warms up.
      if (i > 0) costs.push(cost)
    }
  console.log(
    `Node ${process.versions.node}, ${os.cpus()[0]?.model ?? 'unknown CPU'}; ${ROUNDS} rounds of ${LINES} lines\n`,
  )
  console.log('| access log | CPU µs per record | lowest–highest | lines dropped |\n|---|---|---|---|')
  for (const { name, log, costs } of logs) {
    const range = `${Math.min(...costs).toFixed(2)}–${Math.max(...costs).toFixed(2)}`
    console.log(`| ${name} | ${median(costs).toFixed(2)} | ${range} | ${log.dropped} |`)
    await log.close()
  }
} finally {
  rmSync(dir, { recursive: true, force: true })
}
