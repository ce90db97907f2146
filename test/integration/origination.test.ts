/** TLS that the gateway originates (behaviour §5.3, threats 35): verified always, by names from configuration, never less. */

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { eventually } from '../../src/testing/eventually.ts'
import { type Harness, type LogLine, startHarness } from '../../src/testing/harness.ts'
import { type Answer, plainConnect, type RequestOptions, request } from '../../src/testing/mesh-client.ts'
import {
  type EchoOrigin,
  type OriginTls,
  type RawOrigin,
  startEchoOrigin,
  startRawOrigin,
} from '../../src/testing/origin.ts'
import { createTestPki, type TestCertificate, type TestPki } from '../../src/testing/pki.ts'
import { destinationRule, documents, gateway, type Manifest, serviceEntry, to, virtualService } from './manifests.ts'
import { stat } from './operator.ts'
import { writeSecret } from './started.ts'

const DAY_MS = 86_400_000
const REFUSAL =
  /^upstream connect error or disconnect\/reset before headers\. (retried and the latest )?reset reason: remote connection failure, transport failure reason: TLS_error:/

let pki: TestPki
let outside: TestPki
let harness: Harness
let sent = 0
const closing: (() => Promise<void>)[] = []

type Site = {
  /** What the origin's certificate is; default: a good one for the site's name. */
  readonly certificate?: TestCertificate
  readonly origin?: Partial<OriginTls>
  /** The `tls` of the DestinationRule; null: no rule at all. */
  readonly tls: object | null
  readonly spec?: object
  readonly rule?: object
}

const origins = new Map<string, EchoOrigin>()
/** SNI of each handshake, by site. */
const seenSni = new Map<string, (string | false)[]>()

/** One site of the outside, its origin, and the resources that lead to it. */
async function site(name: string, options: Site): Promise<Manifest[]> {
  const host = `${name}.example`
  const { cert, key } = options.certificate ?? (await outside.serverCert(host))
  const names: (string | false)[] = []
  seenSni.set(name, names)
  const origin = await startEchoOrigin({
    name,
    tls: {
      cert,
      key,
      ...options.origin,
      options: { SNICallback: (servername, done) => (names.push(servername), done(null)), ...options.origin?.options },
    },
  })
  origins.set(name, origin)
  closing.push(() => origin.close())
  return [
    serviceEntry(name, host, origin.port, { port: 443, protocol: 'HTTPS', spec: options.spec ?? {} }),
    virtualService(name, [host], [{ ...options.rule, route: to(host, 443) }]),
    ...(options.tls === null
      ? []
      : [destinationRule(name, host, { portLevelSettings: [{ port: { number: 443 }, tls: options.tls }] })]),
  ]
}

let plainSeen: RawOrigin

before(async () => {
  ;[pki, outside] = await Promise.all([createTestPki(), createTestPki()])
  harness = await startHarness({ pki, resources: {} })
  const ca = outside.writeTo(join(harness.paths.dir, 'outside'))
  const client = await pki.svid('egress/client')
  const stranger = await outside.svid('egress/client')
  const mine = client.writeTo(join(harness.paths.dir, 'client'))
  const wrong = stranger.writeTo(join(harness.paths.dir, 'stranger'))
  writeSecret(harness, 'partner', { ...client, ca: outside.root })
  const simple = { mode: 'SIMPLE', caCertificates: ca }
  const mutual = (files: typeof mine) => ({
    mode: 'MUTUAL',
    caCertificates: ca,
    clientCertificate: files.certificateChain,
    privateKey: files.privateKey,
  })
  const named = (dns: readonly string[], more: object = {}) => outside.leaf({ dns, ...more })
  plainSeen = await startRawOrigin()
  closing.push(() => plainSeen.close())
  const all = await Promise.all([
    site('good', { tls: simple }),
    site('system', { tls: { mode: 'SIMPLE' } }),
    site('wrong-ca', { certificate: await pki.serverCert('wrong-ca.example'), tls: simple }),
    site('wrong-name', { certificate: await named(['other.example']), tls: simple }),
    site('expired', {
      certificate: await named(['expired.example'], {
        notBefore: Date.now() - 2 * DAY_MS,
        notAfter: Date.now() - DAY_MS,
      }),
      tls: simple,
    }),
    site('not-yet', {
      certificate: await named(['not-yet.example'], {
        notBefore: Date.now() + DAY_MS,
        notAfter: Date.now() + 2 * DAY_MS,
      }),
      tls: simple,
    }),
    site('common-name', {
      certificate: await outside.leaf({ commonName: 'common-name.example', dns: ['other.example'] }),
      tls: simple,
    }),
    site('client-only', {
      certificate: await named(['client-only.example'], { extendedKeyUsage: ['clientAuth'] }),
      tls: simple,
    }),
    site('sni', { certificate: await named(['real.example']), tls: { ...simple, sni: 'real.example' } }),
    site('sni-name', { certificate: await named(['sni-name.example']), tls: { ...simple, sni: 'else.example' } }),
    site('sans', {
      certificate: await named(['listed.example']),
      tls: { ...simple, sni: 'sent.example', subjectAltNames: ['other.example', 'listed.example'] },
    }),
    site('sans-wrong', { tls: { ...simple, subjectAltNames: ['listed.example'] } }),
    site('entry-sans', {
      certificate: await named(['entry.example']),
      tls: simple,
      spec: { subjectAltNames: ['entry.example'] },
    }),
    site('rewritten', { tls: simple, rule: { rewrite: { authority: 'evil.example' } } }),
    site('old-tls', {
      tls: simple,
      origin: { options: { maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' } },
    }),
    site('mutual', { tls: mutual(mine), origin: { clientCa: pki.root } }),
    site('secret', { tls: { mode: 'MUTUAL', credentialName: 'partner' }, origin: { clientCa: pki.root } }),
    site('mutual-missing', { tls: simple, origin: { clientCa: pki.root } }),
    site('mutual-wrong', { tls: mutual(wrong), origin: { clientCa: pki.root } }),
    site('disabled', { tls: { mode: 'DISABLE' } }),
    site('unverified', {
      certificate: await pki.serverCert('nobody.example'),
      tls: { mode: 'SIMPLE', insecureSkipVerify: true },
    }),
  ])
  const toPlain = [
    serviceEntry('plain', 'plain.example', plainSeen.port, { port: 443, protocol: 'HTTPS' }),
    virtualService('plain', ['plain.example'], [{ route: to('plain.example', 443) }]),
    destinationRule('plain', 'plain.example', { connectionPool: { tcp: { connectTimeout: '1s' } }, tls: simple }),
  ]
  const result = await harness.change({ 'all.yaml': documents(gateway(), ...all.flat(), ...toPlain) })
  assert.deepEqual(result, { ok: true, errors: [] })
})
after(async () => {
  await harness.stop(sent)
  await Promise.all(closing.map((close) => close()))
})

async function call(
  name: string,
  options: RequestOptions = {},
): Promise<{ readonly answer: Answer; readonly line: LogLine }> {
  const socket = await plainConnect(harness.gateway.port(80))
  sent += 1
  const answer = await request(socket, `${name}.example`, { path: '/anything', ...options })
  socket.destroy()
  return { answer, line: (await harness.lines(sent))[sent - 1] ?? {} }
}

describe('accepted', () => {
  /** Site → SNI that the origin must have seen. TABLE. */
  const good = {
    good: 'good.example',
    sni: 'real.example',
    sans: 'sent.example',
    'entry-sans': 'entry-sans.example',
    mutual: 'mutual.example',
    secret: 'secret.example',
    unverified: 'unverified.example',
  } as const
  for (const [name, sni] of Object.entries(good)) {
    it(name, async () => {
      const { answer, line } = await call(name)
      assert.equal(answer.status, 200, String(line['upstream_transport_failure_reason']))
      assert.equal((JSON.parse(answer.body) as { url: string }).url, `https://${name}.example/anything`)
      assert.deepEqual(seenSni.get(name), [sni])
      assert.deepEqual(
        [line['upstream_cluster'], line['upstream_transport_failure_reason']],
        [`outbound|443||${name}.example`, null],
      )
    })
  }

  it('insecureSkipVerify only after a warning that says so', async () => {
    await eventually('the warning', () =>
      harness
        .log()
        .some(
          ({ level, message }) =>
            level === 'warning' && /all\.yaml:\d+:\d+ warning SP7009 .*unverified\.example/.test(String(message)),
        ),
    )
  })
})

describe('refused: 503 UF, the reason in the log, nothing sent:', () => {
  /** Site → what the transport failure says. TABLE. */
  const bad = {
    system: /CERTIFICATE_VERIFY_FAILED/,
    'wrong-ca': /CERTIFICATE_VERIFY_FAILED/,
    'wrong-name': /ALTNAME|CERTIFICATE_VERIFY_FAILED/,
    expired: /CERTIFICATE_VERIFY_FAILED:CERT_HAS_EXPIRED/,
    'not-yet': /CERTIFICATE_VERIFY_FAILED:CERT_NOT_YET_VALID/,
    'common-name': /ALTNAME|CERTIFICATE_VERIFY_FAILED/,
    'client-only': /CERTIFICATE_VERIFY_FAILED:INVALID_PURPOSE/,
    'sni-name': /ALTNAME|CERTIFICATE_VERIFY_FAILED/,
    'sans-wrong': /ALTNAME|CERTIFICATE_VERIFY_FAILED/,
    'old-tls': /TLS_error/,
    'mutual-missing': /ALERT|alert|TLS_error/,
  } as const
  for (const [name, says] of Object.entries(bad)) {
    it(`threat 35: ${name}`, async () => {
      const { answer, line } = await call(name)
      assert.equal(answer.status, 503)
      // TLS 1.3 asks for the client's certificate when the request may already be on its way: that is not tried again.
      const retried = name !== 'mutual-missing'
      assert.equal(REFUSAL.exec(answer.body)?.[1] !== undefined, retried, answer.body)
      assert.equal(answer.headers['x-sallyport-reason'], undefined)
      const failure = String(line['upstream_transport_failure_reason'])
      assert.match(failure, /^TLS_error:/)
      assert.match(failure, says)
      const flags = retried ? 'UF,URX' : 'UF'
      assert.deepEqual([line['response_code'], line['response_flags'], line['reason']], [503, flags, null])
      assert.match(String(line['response_code_details']), /^upstream_reset_before_response_started\{/)
      assert.deepEqual(origins.get(name)?.requests, [])
    })
  }

  it('threat 35: a client certificate of the wrong CA, which this origin answers by hanging up: 503 UC', async () => {
    const { answer, line } = await call('mutual-wrong', { method: 'POST', body: 'x' })
    assert.deepEqual([answer.status, line['response_flags'], line['reason']], [503, 'UC', null])
    assert.deepEqual(origins.get('mutual-wrong')?.requests, [])
  })

  it('are counted by kind', async () => {
    assert.ok(((await stat(harness, 'cluster.outbound|443||expired.example.ssl.fail_verify_error')) ?? 0) > 0)
    assert.ok(((await stat(harness, 'cluster.outbound|443||wrong-name.example.ssl.fail_verify_san')) ?? 0) > 0)
    assert.equal(await stat(harness, 'cluster.outbound|443||good.example.ssl.fail_verify_error'), 0)
  })
})

describe('what is never done', () => {
  it('threat 35: plain text to a server that should speak TLS: only a ClientHello ever leaves', async () => {
    const { answer, line } = await call('plain', { headers: { authorization: 'secret' } })
    assert.deepEqual([answer.status, line['response_flags']], [503, 'UF,URX'])
    assert.ok(plainSeen.connections.length > 0)
    for (const { bytes } of plainSeen.connections) {
      assert.equal(bytes[0], 0x16)
      assert.ok(!bytes.includes('GET ') && !bytes.includes('secret'))
    }
  })

  it('threat 35: an SNI of the caller’s making: Host, x-forwarded-host and rewrites do not touch it', async () => {
    const { answer } = await call('rewritten', {
      headers: { 'x-forwarded-host': 'evil.example', 'x-envoy-original-dst-host': '8.8.8.8:443' },
    })
    assert.equal((JSON.parse(answer.body) as { headers: Record<string, string> }).headers['Host'], 'evil.example')
    assert.deepEqual(seenSni.get('rewritten'), ['rewritten.example'])
    const again = await call('good', { headers: { host: 'GOOD.example:443' } })
    assert.equal(again.answer.status, 200)
    assert.deepEqual(new Set(seenSni.get('good')), new Set(['good.example']))
  })

  it('DISABLE means plain text, and the server is not pleased', async () => {
    const { answer } = await call('disabled')
    assert.notEqual(answer.status, 200)
    assert.deepEqual([seenSni.get('disabled'), origins.get('disabled')?.requests], [[], []])
  })
})

describe('a missing secret', () => {
  it('is an error of the reload that names the file; what runs stays', async () => {
    const host = 'late.example'
    const late = documents(
      serviceEntry('late', host, 1, { port: 443 }),
      virtualService('late', [host], [{ route: to(host, 443) }]),
      destinationRule('late', host, { tls: { mode: 'MUTUAL', credentialName: 'no-such' } }),
    )
    const { ok, errors } = await harness.change({ 'late.yaml': late })
    assert.equal(ok, false)
    assert.match(errors.join('\n'), /secrets\/no-such\/tls\.crt: /)
    assert.equal((await call('good')).answer.status, 200)
    assert.ok((await harness.change({ 'late.yaml': null })).ok)
  })
})
