/** Which server a ClientHello gets, and what is not a ClientHello a server can use (contract §4, §5; threat 33). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { type TestContext, test } from 'node:test'
import tls from 'node:tls'
import { gatewayYaml, MESH_SERVER, siteYaml, type TestServer } from '../../src/testing/egress-resources.ts'
import { eventually } from '../../src/testing/eventually.ts'
import { type Harness, type LogLine, startHarness } from '../../src/testing/harness.ts'
import { meshConnect, plainConnect, rawExchange, request, SIDECAR_SNI } from '../../src/testing/mesh-client.ts'
import { type EchoOrigin, startEchoOrigin } from '../../src/testing/origin.ts'
import { createTestPki, type TestPki } from '../../src/testing/pki.ts'

const HOST = 'site.example'

async function start(
  t: TestContext,
  servers: readonly TestServer[],
  pki?: TestPki,
): Promise<{ harness: Harness; origin: EchoOrigin }> {
  const origin = await startEchoOrigin()
  const resources = { 'all.yaml': `${gatewayYaml(servers)}---\n${siteYaml(HOST, origin.port)}` }
  const harness = await startHarness({
    ...(pki === undefined ? {} : { pki }),
    resources,
    spec: { ports: { 80: 0, 443: 0, 444: 0 } },
  })
  t.after(async () => {
    await harness.gateway.destroy()
    await origin.close()
  })
  return { harness, origin }
}

/** The TLS client's bytes through a plain socket: `cut` says how the first write (the ClientHello) is taken apart. */
function tlsThrough(
  raw: net.Socket,
  options: tls.ConnectionOptions,
  cut: (hello: Buffer) => readonly Buffer[],
): tls.TLSSocket {
  raw.setNoDelay(true)
  let first = true
  const wire = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      const pieces = first ? [...cut(chunk)] : [chunk]
      first = false
      const next = (): void => {
        const piece = pieces.shift()
        if (piece === undefined) return done()
        raw.write(piece, () => setImmediate(next))
      }
      next()
    },
    final: (done) => void raw.end(done),
  })
  raw.on('data', (chunk) => wire.push(chunk))
  raw.on('close', () => wire.push(null))
  const socket = tls.connect({ ...options, socket: wire, checkServerIdentity: () => undefined })
  socket.on('error', () => {})
  return socket
}

const facts = (line: LogLine | undefined) => [line?.['reason'], line?.['response_code'], line?.['response_flags']]

test('the server with the most specific host for the SNI answers: exact, then longest wildcard, then *', async (t) => {
  const pki = await createTestPki()
  const dir = mkdtempSync(join(tmpdir(), 'sallyport-sni-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const names = { exact: 'a.b.example', long: '*.b.example', short: '*.example', rest: '*' }
  const servers: TestServer[] = []
  for (const [name, host] of Object.entries(names)) {
    const files = (await pki.serverCert(`${name}.cert`)).writeTo(join(dir, name))
    servers.push({
      port: 443,
      name,
      protocol: 'HTTPS',
      hosts: [host],
      tls: { mode: 'SIMPLE', serverCertificate: files.certificateChain, privateKey: files.privateKey },
    })
  }
  const { harness } = await start(t, [...servers, MESH_SERVER], pki)
  const cases = [
    ['a.b.example', 'exact'],
    ['A.B.Example', 'exact'],
    ['x.b.example', 'long'],
    ['x.a.b.example', 'long'],
    ['b.example', 'short'],
    ['example', 'rest'],
    ['notb.example.org', 'rest'],
    ['', 'rest'],
    // Not a sidecar's ALPN, but a sidecar's SNI: only servers that terminate count, and all of these do.
    [SIDECAR_SNI, 'rest'],
  ] as const
  for (const [servername, server] of cases) {
    const socket = await meshConnect({
      port: harness.gateway.port(443),
      svid: null,
      ca: pki.root,
      servername,
      alpn: ['http/1.1'],
    })
    assert.equal(socket.getPeerCertificate().subjectaltname, `DNS:${server}.cert`, servername)
    const closed = once(socket, 'close')
    socket.end()
    await closed
  }
  await eventually('all closed', () =>
    harness.gateway.boundPorts.every(({ stats }) => stats.downstream_cx_active === 0),
  )
  await harness.stop(0)
})

test('threat 33: an SNI nobody claims, and none: closed with the reason, and the log names the fix', async (t) => {
  const { harness } = await start(t, [{ ...MESH_SERVER, hosts: [HOST, '*.wild.example'] }])
  const svid = await harness.pki.svid('apps/sleep')
  const names = ['other.example', SIDECAR_SNI, 'wild.example', `${HOST}.evil`, `x${HOST}`, '']
  for (const servername of names) {
    const error = await meshConnect({ port: harness.gateway.port(80), svid, ca: harness.pki.root, servername }).then(
      () => null,
      (reason: NodeJS.ErrnoException) => reason,
    )
    assert.equal(error?.code, 'ECONNRESET', servername)
  }
  for (const servername of [HOST, 'a.wild.example']) {
    const socket = await meshConnect({ port: harness.gateway.port(80), svid, ca: harness.pki.root, servername })
    assert.equal((await request(socket, HOST)).status, 200, servername)
    socket.destroy()
  }
  const lines = await harness.lines(names.length + 2)
  for (const [i, name] of names.entries()) {
    assert.deepEqual(facts(lines[i]), [name === '' ? 'no_sni' : 'no_server_for_sni', 0, 'NR'], name)
    assert.deepEqual(
      [lines[i]?.['requested_server_name'], lines[i]?.['response_code_details']],
      [name === '' ? null : name, 'filter_chain_not_found'],
    )
  }
  const warning = await eventually('a warning', () => harness.log().find((line) => line['sni'] === 'other.example'))
  assert.match(JSON.stringify(warning), /Gateway port 80.*other\.example.*add it.*hosts/)
  const metrics = (await harness.gateway.metrics.prometheus()).split('\n')
  assert.ok(metrics.includes('sallyport_refused_connections_total{reason="no_server_for_sni"} 5'))
  assert.ok(metrics.includes('sallyport_refused_connections_total{reason="no_sni"} 1'))
  assert.match(
    harness.gateway.metrics.stats({ filter: null, format: 'text', usedOnly: true }),
    /no_filter_chain_match: 6$/m,
  )
  await harness.stop(names.length + 2)
})

test('threat 33: a ClientHello in pieces of one byte, and one spread over several records, is read', async (t) => {
  const { harness, origin } = await start(t, [{ ...MESH_SERVER, hosts: [HOST] }])
  const svid = await harness.pki.svid('apps/sleep')
  const bytewise = (hello: Buffer) => Array.from(hello, (byte) => Buffer.from([byte]))
  const records = (hello: Buffer) => {
    const body = hello.subarray(5)
    const half = Math.floor(body.length / 2)
    return [body.subarray(0, 3), body.subarray(3, half), body.subarray(half)].flatMap((part) => {
      const head = Buffer.from([0x16, 3, 1, 0, 0])
      head.writeUInt16BE(part.length, 3)
      return [head, part]
    })
  }
  for (const cut of [bytewise, records]) {
    const raw = await plainConnect(harness.gateway.port(80))
    const socket = tlsThrough(
      raw,
      { servername: HOST, cert: svid.cert, key: svid.key, ca: harness.pki.root, ALPNProtocols: ['http/1.1'] },
      cut,
    )
    await once(socket, 'secureConnect')
    const text = await rawExchange(socket, `GET / HTTP/1.1\r\nhost: ${HOST}\r\nconnection: close\r\n\r\n`)
    assert.match(text, /^HTTP\/1\.1 200 /)
    raw.destroy()
  }
  assert.equal(origin.requests.length, 2)
  await harness.stop(2)
})

test('threat 33: bytes that are no TLS on a TLS port: closed, one line each, nothing dialled', async (t) => {
  const { harness, origin } = await start(t, [MESH_SERVER])
  const cases = [
    `GET / HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`,
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    '\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10',
    '\0\0\0\0',
    '\x16\x03\x01\x00\x04\x02\x00\x00\x00',
    '\x16\x03\x01\xff\xff',
    '\x16\x02\x00\x00\x05abcde',
    `\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03${'x'.repeat(40)}\x00`,
  ]
  for (const bytes of cases) {
    const socket = await plainConnect(harness.gateway.port(80))
    assert.equal(await rawExchange(socket, Buffer.from(bytes, 'latin1')), '', JSON.stringify(bytes))
  }
  const lines = await harness.lines(cases.length)
  assert.deepEqual(
    lines.map((line) => [line['reason'], line['response_code']]),
    cases.map(() => ['protocol_mismatch', 0]),
  )
  assert.equal(origin.accepted(), 0)
  await harness.stop(cases.length)
})

test('threat 33: a ClientHello that OpenSSL then refuses: one line that says so', async (t) => {
  const { harness } = await start(t, [MESH_SERVER])
  const options: readonly tls.ConnectionOptions[] = [
    { maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' },
    { ALPNProtocols: ['spdy/3'] },
  ]
  for (const each of options) {
    const raw = await plainConnect(harness.gateway.port(80))
    const socket = tls.connect({ socket: raw, servername: HOST, ca: harness.pki.root, ...each })
    const [error] = (await once(socket, 'error').catch((reason: unknown) => [reason])) as [NodeJS.ErrnoException]
    assert.match(String(error.code), /^(?:ERR_SSL_|ECONNRESET|EPROTO)/)
    raw.destroy()
  }
  const lines = await harness.lines(2)
  for (const line of lines) {
    assert.equal(line['response_code'], 0)
    assert.match(String(line['connection_termination_details']), /^TLS_error:/)
  }
  assert.match(
    harness.gateway.metrics.stats({ filter: null, format: 'text', usedOnly: true }),
    /ssl\.connection_error: 2$/m,
  )
  await harness.stop(2)
})

test('a connection that says nothing has no line, whichever layer it stops at', async (t) => {
  const { harness } = await start(t, [MESH_SERVER, { port: 443, name: 'plain', protocol: 'HTTP' }])
  const svid = await harness.pki.svid('apps/sleep')
  const sockets: net.Socket[] = [
    await plainConnect(harness.gateway.port(80)),
    await plainConnect(harness.gateway.port(443)),
  ]
  for (const alpn of [['http/1.1'], ['istio-peer-exchange', 'istio'], []]) {
    sockets.push(await meshConnect({ port: harness.gateway.port(80), svid, ca: harness.pki.root, alpn }))
  }
  const open = () => harness.gateway.boundPorts.reduce((sum, { stats }) => sum + stats.downstream_cx_active, 0)
  await eventually('all accepted', () => open() === sockets.length)
  for (const socket of sockets) socket.end()
  await eventually('all closed', () => open() === 0)
  await harness.stop(0)
})
