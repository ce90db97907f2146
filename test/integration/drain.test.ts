/** Draining (contract §9): what runs is finished, nothing new is taken, and the deadline is kept and logged. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http2 from 'node:http2'
import { after, before, it } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import type { Harness, HarnessOptions } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect, rawExchange, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, type RawOrigin, startEchoOrigin, startRawOrigin } from '../../src/testing/origin.ts'
import { describe } from './engines.ts'
import { documents, gateway, ISTIO_MUTUAL, serviceEntry, to, virtualService } from './manifests.ts'
import { ask, askControl } from './operator.ts'
import { started } from './started.ts'

const HOST = 'site.example'
const STUCK = 'stuck.example'

let origin: EchoOrigin
/** Takes requests and never answers. */
let stuck: RawOrigin
before(async () => {
  origin = await startEchoOrigin()
  stuck = await startRawOrigin()
})
after(async () => {
  await origin.close()
  await stuck.close()
})

function options(spec: Readonly<Record<string, unknown>> = {}): HarnessOptions {
  const route = (host: string) => virtualService(host.replace('.', '-'), [host], [{ route: to(host) }])
  return {
    spec,
    resources: {
      'base.yaml': documents(
        gateway({}, { number: 443, tls: ISTIO_MUTUAL }),
        serviceEntry('site', HOST, origin.port),
        serviceEntry('stuck', STUCK, stuck.port),
        route(HOST),
        route(STUCK),
      ),
    },
  }
}

async function running(harness: Harness, count: number): Promise<void> {
  await eventually(`${count} requests under way`, () => {
    const active = [...harness.gateway.active.clusters.stats()].reduce((sum, { upstream_rq_active: n }) => sum + n, 0)
    return active === count
  })
}

describe('draining', () => {
  it('finishes a request under way with connection: close, lets idle connections go, takes nothing new', async (t) => {
    const harness = await started(t, options({ drainDuration: '60s' }))
    const port = harness.gateway.port(80)
    const health = harness.gateway.control?.health.port ?? 0
    const idle = await plainConnect(port)
    assert.equal((await request(idle, HOST)).headers.connection, undefined)
    const silent = await plainConnect(port)
    const busy = await plainConnect(port)
    const idleClosed = once(idle, 'close')
    const silentClosed = once(silent, 'close')
    const slow = request(busy, HOST, { path: '/delay/4' })
    await running(harness, 1)
    const closing = harness.gateway.close()
    await assert.rejects(plainConnect(port), { code: 'ECONNREFUSED' })
    assert.equal((await ask(health, '/healthz/ready')).status, 503)
    assert.equal((await askControl(harness, 'admin', '/ready')).body, 'DRAINING\n')
    await idleClosed
    await silentClosed
    assert.equal(harness.gateway.lifecycle.phase, 'draining')
    const answer = await slow
    assert.deepEqual([answer.status, answer.complete, answer.headers.connection], [200, true, 'close'])
    await closing
    await assert.rejects(ask(health, '/healthz/ready'), { code: 'ECONNREFUSED' })
    const lines = await harness.lines(2)
    assert.deepEqual(
      lines.map((line) => [line['response_code'], line['reason']]),
      [
        [200, null],
        [200, null],
      ],
    )
    await harness.stop(2)
  })

  it('tells an HTTP/2 caller with GOAWAY and finishes its streams', async (t) => {
    const harness = await started(t, options({ drainDuration: '60s' }))
    const svid = await harness.pki.svid('mytest/sleep')
    const socket = await meshConnect({ port: harness.gateway.port(443), svid, ca: harness.pki.root, alpn: ['h2'] })
    const session = http2.connect('https://unused', { createConnection: () => socket })
    session.on('error', () => {})
    const goaway = once(session, 'goaway') as Promise<[number, number, Buffer]>
    const stream = session.request({ ':method': 'GET', ':authority': HOST, ':path': '/delay/4' })
    let body = ''
    stream.setEncoding('utf8').on('data', (part: string) => (body += part))
    const response = once(stream, 'response') as Promise<[http2.IncomingHttpHeaders]>
    await running(harness, 1)
    const closing = harness.gateway.close()
    assert.equal((await goaway)[0], http2.constants.NGHTTP2_NO_ERROR)
    const [headers] = await response
    await once(stream, 'close')
    assert.deepEqual([headers[':status'], stream.rstCode], [200, http2.constants.NGHTTP2_NO_ERROR])
    assert.deepEqual(JSON.parse(body), { delay: 4 })
    await closing
    assert.ok(session.closed || session.destroyed)
    const [line] = await harness.lines(1)
    assert.deepEqual([line?.['response_code'], line?.['protocol'], line?.['reason']], [200, 'HTTP/2', null])
    await harness.stop(1)
  })

  it('cuts at the deadline whatever is left, and logs each with reason draining', async (t) => {
    const harness = await started(t, options({ drainDuration: '300ms' }))
    const plain = await plainConnect(harness.gateway.port(80))
    const waiting = rawExchange(plain, `GET /stuck HTTP/1.1\r\nhost: ${STUCK}\r\n\r\n`)
    const sending = await plainConnect(harness.gateway.port(80))
    const half = rawExchange(sending, `POST /half HTTP/1.1\r\nhost: ${STUCK}\r\ncontent-length: 100\r\n\r\nabc`)
    const svid = await harness.pki.svid('mytest/sleep')
    const secured = await meshConnect({ port: harness.gateway.port(443), svid, ca: harness.pki.root, alpn: ['h2'] })
    const session = http2.connect('https://unused', { createConnection: () => secured })
    session.on('error', () => {})
    const stream = session.request({ ':method': 'GET', ':authority': STUCK, ':path': '/h2' })
    stream.on('error', () => {})
    const streamClosed = once(stream, 'close')
    await running(harness, 3)
    const from = performance.now()
    await harness.gateway.close()
    const took = performance.now() - from
    assert.ok(took >= 290, `cut after ${took} ms, before the deadline`)
    assert.ok(took < 20_000, `took ${took} ms`)
    assert.deepEqual([await waiting, await half], ['', ''])
    await streamClosed
    const lines = await harness.lines(3)
    assert.deepEqual(
      lines
        .map((line) => [line['path'], line['response_code'], line['reason'], line['response_code_details']])
        .toSorted(([a], [b]) => String(a).localeCompare(String(b))),
      ['/h2', '/half', '/stuck'].map((path) => [path, 0, 'draining', 'downstream_local_disconnect(drain_deadline)']),
    )
    await eventually('the upstream connections are gone', () =>
      stuck.connections.every(({ socket }) => socket.destroyed),
    )
    await harness.stop(3)
  })

  it('by POST /drain_listeners only stops accepting, and readiness says so, also after a reload', async (t) => {
    const harness = await started(t, options())
    const socket = await plainConnect(harness.gateway.port(80))
    const port = harness.gateway.port(80)
    assert.equal((await request(socket, HOST)).status, 200)
    assert.equal((await askControl(harness, 'admin', '/drain_listeners', 'POST')).status, 200)
    await assert.rejects(plainConnect(port), { code: 'ECONNREFUSED' })
    assert.equal((await request(socket, HOST)).status, 200)
    // Nobody can connect: a Service must not go on sending callers here.
    assert.equal((await askControl(harness, 'health', '/healthz/ready')).status, 503)
    const more = documents(serviceEntry('more', 'more.example', 80))
    assert.deepEqual(await harness.change({ 'more.yaml': more }), { ok: true, errors: [] })
    await assert.rejects(plainConnect(port), { code: 'ECONNREFUSED' })
    assert.equal((await askControl(harness, 'health', '/healthz/ready')).status, 503)
    socket.destroy()
    await harness.stop(2)
  })

  it('refuses a reload', async (t) => {
    const harness = await started(t, options())
    const socket = await plainConnect(harness.gateway.port(80))
    const slow = request(socket, HOST, { path: '/delay/0.5' })
    await running(harness, 1)
    const closing = harness.gateway.close()
    assert.equal((await harness.change({ 'base.yaml': null })).ok, false)
    assert.equal((await slow).status, 200)
    await closing
    await harness.stop(1)
  })
})
