/** TLS towards upstreams: verified always, named by configuration only, reported in Envoy's words (threats 35, models C3.3). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import type { ClusterModel, UpstreamTlsModel } from '../model/cluster.ts'
import { eventually } from '../testing/eventually.ts'
import {
  clusterEnvironment,
  clusterModel,
  ENGINES,
  type EnvironmentOptions,
  failureOf,
  responseOf,
  testUpstream,
  upstreamTls,
} from '../testing/forwarding.ts'
import { type OriginTls, startEchoOrigin, startRawOrigin } from '../testing/origin.ts'
import { createTestPki } from '../testing/pki.ts'

const DAY = 24 * 3_600_000
const outside = await createTestPki({ trustDomain: 'outside.example' })
const stranger = await createTestPki({ trustDomain: 'stranger.example' })
const site = await outside.serverCert('site.example')

type Row = {
  readonly server: OriginTls
  readonly tls?: Partial<UpstreamTlsModel>
  readonly model?: Partial<ClusterModel>
  readonly environment?: EnvironmentOptions
  readonly requestedHost?: string
  /** null: the request must succeed. `closed`: the server hangs up without an alert, as Node's servers do. */
  readonly refused: RegExp | 'closed' | null
}

const uri = 'spiffe://outside.example/ns/a/sa/b'
const ROWS: Readonly<Record<string, Row>> = {
  'the cluster’s host': { server: site, refused: null },
  'a wrong CA': {
    server: await stranger.serverCert('site.example'),
    refused: /CERTIFICATE_VERIFY_FAILED:(UNABLE_TO|SELF_SIGNED|DEPTH_ZERO)/,
  },
  'a wrong name': { server: await outside.serverCert('other.example'), refused: /ERR_TLS_CERT_ALTNAME_INVALID/ },
  'an expired certificate': {
    server: await outside.serverCert('site.example', { notBefore: Date.now() - 2 * DAY, notAfter: Date.now() - DAY }),
    refused: /CERT_HAS_EXPIRED/,
  },
  'a certificate not yet valid': {
    server: await outside.serverCert('site.example', { notBefore: Date.now() + DAY, notAfter: Date.now() + 2 * DAY }),
    refused: /CERT_NOT_YET_VALID/,
  },
  'a certificate for clients only': {
    server: await outside.serverCert('site.example', { extendedKeyUsage: ['clientAuth'] }),
    refused: /INVALID_PURPOSE/,
  },
  'the name in the common name only': {
    server: await outside.leaf({ commonName: 'site.example', dns: [] }),
    refused: /ERR_TLS_CERT_ALTNAME_INVALID/,
  },
  'the host the caller asked for, when configuration names another': {
    server: site,
    tls: { sni: 'api.example' },
    refused: /ERR_TLS_CERT_ALTNAME_INVALID/,
  },
  'a configured SNI, verified as a name although there are no SANs': {
    server: await outside.serverCert('api.example'),
    tls: { sni: 'api.example' },
    refused: null,
  },
  'a configured DNS SAN instead of the SNI': {
    server: await outside.serverCert('backend.example'),
    tls: { sni: 'site.example', subjectAltNames: ['backend.example'] },
    refused: null,
  },
  'the SNI’s name when another SAN is configured': {
    server: site,
    tls: { sni: 'site.example', subjectAltNames: ['backend.example'] },
    refused: /ERR_TLS_CERT_ALTNAME_INVALID/,
  },
  'a configured URI SAN': {
    server: await outside.leaf({ uris: [uri] }),
    tls: { subjectAltNames: [uri] },
    refused: null,
  },
  'a URI SAN that only begins like the configured one': {
    server: await outside.leaf({ uris: [`${uri}-admin`] }),
    tls: { subjectAltNames: [uri] },
    refused: /ERR_TLS_CERT_ALTNAME_INVALID/,
  },
  'a wildcard certificate': {
    server: await outside.serverCert('*.site.example'),
    model: { host: 'www.site.example' },
    refused: null,
  },
  'a wildcard certificate one label too deep': {
    server: await outside.serverCert('*.site.example'),
    model: { host: 'a.www.site.example' },
    refused: /ERR_TLS_CERT_ALTNAME_INVALID/,
  },
  'a wildcard cluster verifies the requested name': {
    server: await outside.serverCert('www.site.example'),
    model: { host: '*.site.example' },
    requestedHost: 'www.site.example',
    refused: null,
  },
  'a wildcard cluster refuses another name than the requested one': {
    server: await outside.serverCert('www.site.example'),
    model: { host: '*.site.example' },
    requestedHost: 'mail.site.example',
    refused: /ERR_TLS_CERT_ALTNAME_INVALID/,
  },
  'an IP address as host wants an IP SAN': {
    server: await outside.leaf({ ips: ['127.0.0.1'] }),
    model: { host: '127.0.0.1' },
    refused: null,
  },
  'an IP address in a DNS SAN is none': {
    server: await outside.leaf({ dns: ['127.0.0.1'] }),
    model: { host: '127.0.0.1' },
    refused: /ERR_TLS_CERT_ALTNAME_INVALID/,
  },
  'no verification, spelt out': {
    server: await stranger.serverCert('other.example'),
    tls: { insecureSkipVerify: true },
    refused: null,
  },
  'TLS 1.1 only': {
    server: { ...site, options: { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } },
    refused: /TLS_error:/,
  },
  'a client certificate': {
    server: { ...site, clientCa: outside.root },
    tls: { mode: 'MUTUAL' },
    environment: { client: await outside.svid('a/b') },
    refused: null,
  },
  'no client certificate where one is wanted': {
    server: { ...site, clientCa: outside.root },
    refused: /TLS_error:SSL routines:\w+:TLS_error_end/,
  },
  'a client certificate of another CA': {
    server: { ...site, clientCa: outside.root },
    tls: { mode: 'MUTUAL' },
    environment: { client: await stranger.svid('a/b') },
    refused: 'closed',
  },
}

for (const [engine, create] of Object.entries(ENGINES)) {
  for (const [name, row] of Object.entries(ROWS)) {
    test(`threat 35: ${engine}: ${row.refused === null ? 'accepted' : 'refused'}: ${name}`, async () => {
      await using origin = await startEchoOrigin({ tls: row.server })
      using upstream = testUpstream(
        clusterModel(origin.port, { tls: upstreamTls(row.tls), ...row.model }),
        clusterEnvironment({ ca: outside.root, ...row.environment }),
        { forwarder: create() },
      )
      const sent = upstream.send({ target: '/anything', requestedHost: row.requestedHost ?? 'site.example' })
      const outcome = await sent.outcome
      const { stats } = upstream.cluster
      if (row.refused === null) {
        const { status, body } = responseOf(outcome)
        assert.equal(status, 200)
        assert.match((await body()).toString(), /"url": "https:/)
        assert.equal(stats.ssl_handshake, 1)
        return
      }
      const failure = failureOf(outcome)
      assert.deepEqual(origin.requests, [])
      assert.deepEqual(sent.surplus, [])
      if (row.refused === 'closed') {
        assert.equal(failure.kind, 'upstream_closed')
        return
      }
      assert.equal(failure.kind, 'connect_failure')
      assert.match(failure.transportFailure ?? '', row.refused)
      assert.match(failure.transportFailure ?? '', /^TLS_error:SSL routines:[\w:]+:TLS_error_end$/)
      assert.ok(failure.body?.endsWith(`transport failure reason: ${failure.transportFailure}`))
    })
  }

  test(`threat 35: ${engine}: SNI comes from configuration, never from the Host header; none for IP addresses`, async () => {
    for (const [model, tls, expected] of [
      [{}, {}, 'site.example'],
      [{}, { sni: 'api.example' }, 'api.example'],
      [{ host: '127.0.0.1' }, {}, false],
    ] as const) {
      await using origin = await startRawOrigin({
        tls: site,
        onRequest: ({ socket }) => socket.write('HTTP/1.1 204 No Content\r\n\r\n'),
      })
      using upstream = testUpstream(
        clusterModel(origin.port, { ...model, tls: upstreamTls({ insecureSkipVerify: true, ...tls }) }),
        clusterEnvironment(),
        { forwarder: create() },
      )
      responseOf(await upstream.request({ headers: ['host', 'attacker-chosen.example'] }))
      const { socket } = await origin.connection(0)
      assert.equal((socket as TLSSocket).servername, expected)
    }
  })

  test(`threat 35: ${engine}: not a byte of the request reaches a server that does not verify`, async () => {
    await using origin = await startRawOrigin({ tls: await outside.serverCert('other.example') })
    using upstream = testUpstream(
      clusterModel(origin.port, { tls: upstreamTls() }),
      clusterEnvironment({ ca: outside.root }),
      { forwarder: create() },
    )
    assert.equal(failureOf(await upstream.request()).kind, 'connect_failure')
    // With TLS 1.3 the server may see a completed handshake before we hang up.
    for (const connection of origin.connections) {
      await connection.closed
      assert.equal(connection.text, '')
    }
    assert.equal(upstream.cluster.stats.ssl_fail_verify_san, 1)
  })

  test(`threat 35: ${engine}: plain text on a TLS port is a TLS failure`, async () => {
    await using origin = await startRawOrigin({
      onConnection: ({ socket }) => socket.write('HTTP/1.1 400 Bad\r\n\r\n'),
    })
    using upstream = testUpstream(
      clusterModel(origin.port, { tls: upstreamTls() }),
      clusterEnvironment({ ca: outside.root }),
      { forwarder: create() },
    )
    assert.match(failureOf(await upstream.request()).transportFailure ?? '', /^TLS_error:SSL routines:WRONG_VERSION/)
    assert.equal(upstream.cluster.stats.ssl_connection_error, 1)
  })

  test(`${engine}: sessions are resumed within a pool, and only there`, async () => {
    const resumed: boolean[] = []
    await using origin = await startRawOrigin({
      tls: await outside.leaf({ dns: ['a.site.example', 'b.site.example'] }),
      onConnection: ({ socket }) => resumed.push((socket as TLSSocket).isSessionReused()),
      onRequest: ({ socket }) => socket.end('HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n'),
    })
    using upstream = testUpstream(
      clusterModel(origin.port, { host: '*.site.example', tls: upstreamTls() }),
      clusterEnvironment({ ca: outside.root }),
      { forwarder: create() },
    )
    for (const requestedHost of ['a.site.example', 'a.site.example', 'b.site.example']) {
      await responseOf(await upstream.request({ requestedHost })).body()
      await eventually('the connection is gone', () => upstream.cluster.stats.upstream_cx_active === 0)
    }
    assert.deepEqual(resumed, [false, true, false])
  })
}

test('verification without a CA bundle is refused at load', () => {
  assert.throws(
    () => testUpstream(clusterModel(1, { tls: upstreamTls() }), clusterEnvironment()),
    /verification needs a CA bundle/,
  )
})
