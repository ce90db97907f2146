/** Certificates that change under way (threats 47): no request fails for it, and nothing wrong is ever taken up. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { eventually } from '../../src/testing/eventually.ts'
import { GATEWAY_ID, type Harness } from '../../src/testing/harness.ts'
import { meshConnect, request } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestCertificate, type TestPki } from '../../src/testing/pki.ts'
import { destinationRule, documents, gateway, ISTIO_MUTUAL, serviceEntry, to, virtualService } from './manifests.ts'
import { askControl, sample } from './operator.ts'
import { started } from './started.ts'

const HOST = 'site.example'

let pki: TestPki
let origin: EchoOrigin
let caller: TestCertificate
before(async () => {
  pki = await createTestPki()
  origin = await startEchoOrigin()
  caller = await pki.svid('mytest/sleep')
})
after(() => origin.close())

const base = () =>
  documents(
    gateway({ tls: ISTIO_MUTUAL }),
    serviceEntry('site', HOST, origin.port),
    virtualService('site', [HOST], [{ route: to(HOST) }]),
  )

function connect(harness: Harness, ca = pki.root, svid = caller): Promise<TLSSocket> {
  return meshConnect({ port: harness.gateway.port(80), svid, ca })
}

function serialOf(socket: TLSSocket): string {
  return socket.getPeerCertificate().serialNumber
}

describe("the gateway's own SVID", () => {
  it('rotates under a loop of requests without one failing', async (t) => {
    const harness = await started(t, { pki, resources: { 'base.yaml': base() }, watch: true })
    const kept = await connect(harness)
    const serials = new Set<string>()
    const statuses: number[] = []
    let done = false
    const loop = async () => {
      while (!done) {
        const socket = await connect(harness)
        serials.add(serialOf(socket))
        statuses.push((await request(socket, HOST)).status, (await request(kept, HOST)).status)
        socket.destroy()
      }
    }
    const looping = loop()
    for (let generation = 2; generation <= 4; generation += 1) {
      const next = await pki.svid(GATEWAY_ID)
      // Two files, written one after the other: for a moment they do not belong together.
      next.writeTo(harness.paths.identity)
      await eventually(
        `generation ${generation}`,
        async () => (await sample(harness, 'sallyport_config_generation')) === generation,
      )
      await eventually('a handshake with the new certificate', () => serials.size === generation)
    }
    done = true
    await looping
    kept.destroy()
    assert.ok(statuses.length >= 8, String(statuses.length))
    assert.deepEqual(
      statuses.filter((status) => status !== 200),
      [],
    )
    await harness.stop(statuses.length)
  })

  it('is kept when the new key does not match, or is no key, or the file is gone', async (t) => {
    const harness = await started(t, { pki, resources: { 'base.yaml': base() } })
    const first = await connect(harness)
    const serial = serialOf(first)
    const [certificateChain, privateKey] = ['cert-chain.pem', 'key.pem'].map((name) =>
      join(harness.paths.identity, name),
    ) as [string, string]
    const next = await pki.svid(GATEWAY_ID)
    const refused = async (says: RegExp) => {
      const { ok, errors } = await harness.gateway.reload()
      assert.equal(ok, false)
      assert.match(errors.join('\n'), says)
      assert.ok(!errors.join('\n').includes('PRIVATE KEY'))
      assert.equal(await sample(harness, 'sallyport_config_last_reload_successful'), 0)
      assert.equal(await sample(harness, 'sallyport_config_generation'), 1)
      const socket = await connect(harness)
      assert.equal(serialOf(socket), serial)
      assert.equal((await request(socket, HOST)).status, 200)
      socket.destroy()
    }
    writeFileSync(certificateChain, next.cert)
    await refused(/key\.pem: .*(match|belong)/i)
    writeFileSync(privateKey, 'no key at all\n')
    await refused(/key\.pem: /)
    writeFileSync(certificateChain, '')
    await refused(/cert-chain\.pem: /)
    next.writeTo(harness.paths.identity)
    assert.deepEqual(await harness.gateway.reload(), { ok: true, errors: [] })
    const socket = await connect(harness)
    assert.notEqual(serialOf(socket), serial)
    assert.equal((await request(first, HOST)).status, 200, 'the connection of before lives on')
    const { body } = await askControl(harness, 'admin', '/certs')
    assert.ok(body.toLowerCase().includes(serialOf(socket).toLowerCase()), body)
    socket.destroy()
    first.destroy()
    await harness.stop(4)
  })
})

describe('the mesh trust bundle', () => {
  it('of old and new CA accepts both; without the old one its callers go, also those already connected', async (t) => {
    const other = await createTestPki()
    const newcomer = await other.svid('mytest/sleep')
    const harness = await started(t, { pki, resources: { 'base.yaml': base() } })
    const bundle = join(harness.paths.identity, 'root-cert.pem')
    const old = await connect(harness)
    assert.equal((await request(old, HOST)).status, 200)
    writeFileSync(bundle, `${pki.root}\n${other.root}`)
    assert.ok((await harness.gateway.reload()).ok)
    assert.equal((await request(old, HOST)).status, 200)
    const fresh = await connect(harness, pki.root, newcomer)
    assert.equal((await request(fresh, HOST)).status, 200)
    ;(await other.svid(GATEWAY_ID)).writeTo(harness.paths.identity)
    writeFileSync(bundle, other.root)
    assert.deepEqual(await harness.gateway.reload(), { ok: true, errors: [] })
    const seen = origin.requests.length
    await assert.rejects(request(old, HOST, { path: '/after' }), 'closed without an answer')
    assert.equal((await request(fresh, HOST)).status, 200)
    const late = await connect(harness, other.root)
    late.write(`GET /late HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`)
    await once(late, 'close')
    assert.deepEqual(origin.requests.slice(seen), ['GET /'])
    const lines = (await harness.lines(6)).slice(3)
    assert.deepEqual(
      lines.map((line) => [line['response_code'], line['reason']]).toSorted((a, b) => Number(a[0]) - Number(b[0])),
      [
        [0, 'untrusted_certificate'],
        [0, 'untrusted_certificate'],
        [200, null],
      ],
    )
    fresh.destroy()
    await harness.stop(6)
  })
})

describe('the CA of an upstream', () => {
  it('that changes is verified anew: a pooled connection of the old trust is not used', async (t) => {
    const outside = await createTestPki()
    const certificate = await outside.serverCert(HOST)
    const secure = await startEchoOrigin({ tls: { cert: certificate.cert, key: certificate.key } })
    t.after(() => secure.close())
    const harness = await started(t, { pki, resources: {} })
    writeFileSync(harness.paths.caFile, outside.root)
    const tls = destinationRule('tls', HOST, {
      portLevelSettings: [
        { port: { number: 443 }, tls: { mode: 'SIMPLE', sni: HOST, caCertificates: harness.paths.caFile } },
      ],
    })
    const resources = documents(
      gateway({ tls: ISTIO_MUTUAL }),
      serviceEntry('site', HOST, secure.port, { port: 443, protocol: 'HTTPS' }),
      virtualService('site', [HOST], [{ route: to(HOST, 443) }]),
      tls,
    )
    assert.deepEqual(await harness.change({ 'all.yaml': resources }), { ok: true, errors: [] })
    const socket = await connect(harness)
    assert.equal((await request(socket, HOST)).status, 200)
    // Same path, other content: another CA.
    writeFileSync(harness.paths.caFile, pki.root)
    assert.deepEqual(await harness.gateway.reload(), { ok: true, errors: [] })
    const refused = await request(socket, HOST)
    assert.equal(refused.status, 503)
    writeFileSync(harness.paths.caFile, outside.root)
    assert.ok((await harness.gateway.reload()).ok)
    assert.equal((await request(socket, HOST)).status, 200)
    const line = (await harness.lines(3))[1]
    assert.equal(line?.['response_flags'], 'UF,URX')
    assert.match(String(line?.['upstream_transport_failure_reason']), /^TLS_error:.*CERTIFICATE_VERIFY_FAILED/)
    assert.equal(secure.requests.length, 2)
    // A CA that is none is refused as a whole.
    writeFileSync(harness.paths.caFile, 'rubbish')
    assert.match((await harness.gateway.reload()).errors.join('\n'), /outside-ca\.pem: /)
    assert.equal((await request(socket, HOST)).status, 200)
    socket.destroy()
    await harness.stop(4)
  })
})
