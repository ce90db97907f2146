/** The status page's data and markup: what is kept, what is left out, and that nothing a caller sends becomes markup. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type Connection, NO_PEER, type Peer } from '../core/attributes.ts'
import { escapeHtml, html } from './html.ts'
import { createMetrics } from './metrics.ts'
import { type ExchangeRecord, newRecord } from './record.ts'
import { type StatusSources, statusReport } from './status.ts'
import { callerMatrix, shortPrincipal } from './status-matrix.ts'
import { statusPage } from './status-page.ts'
import { PAGE_HEADERS, SCRIPT, STYLE } from './status-style.ts'

const CART = 'spiffe://cluster.local/ns/shop/sa/cart'

function peer(uri: string): Peer {
  const id = { uri, trustDomain: 'cluster.local', namespace: 'shop', serviceAccount: 'cart' }
  const certificate = { sha256: '', subject: '', issuer: '', serial: '', uriSans: [uri], dnsSans: [] }
  return { kind: 'spiffe', id, certificate: { ...certificate, notBefore: 0, notAfter: 0 } }
}

function connection(who: Peer): Connection {
  const addresses = { remoteAddress: '10.0.0.1', remotePort: 1, localAddress: '10.0.0.2', localPort: 8080 }
  return { id: 1, openedAt: 0, ...addresses, gatewayPort: 80, peer: who, tls: null }
}

function record(changes: Partial<ExchangeRecord>, who: Peer = peer(CART)): ExchangeRecord {
  return Object.assign(newRecord(changes.kind ?? 'http', connection(who), 0), {
    method: 'GET',
    authority: 'site.example',
    path: '/',
    ...changes,
  })
}

function sources(changes: Partial<StatusSources> = {}): StatusSources {
  return {
    state: () => 'LIVE',
    serverInfo: () => ({ gateway: 'gw', namespace: 'ns', version: '1', generation: 2, uptime_seconds: 5 }),
    certs: () => [],
    routes: () => [],
    policies: () => [],
    lastReload: () => ({ successful: true, at: 0, errors: [] }),
    metrics: createMetrics({
      clusters: () => [],
      listeners: () => [],
      certificates: () => [],
      accessLogDropped: () => 0,
      openConnections: () => 3,
      openTunnels: () => 1,
      config: () => ({ generation: 1, lastReloadSuccessful: true, lastReloadAt: 0, version: 'v' }),
      gatewayName: 'gw',
      gatewayNamespace: 'ns',
    }),
    ...changes,
  }
}

/** Sources whose metrics have recorded these. */
function after(records: readonly ExchangeRecord[]): StatusSources {
  const all = sources()
  const metrics = all.metrics as ReturnType<typeof createMetrics>
  for (const each of records) metrics.record(each)
  return all
}

describe('the report', () => {
  test('the last 50, the newest first, however many there were', () => {
    for (const count of [0, 1, 49, 50, 51, 130]) {
      const records = Array.from({ length: count }, (_, index) => record({ path: `/${index}` }))
      const paths = statusReport(after(records)).decisions.map(({ path }) => path)
      const expected = records
        .map(({ path }) => path)
        .slice(-50)
        .reverse()
      assert.deepEqual(paths, expected, String(count))
    }
  })

  test('of a request: who, what and why; no query, no other header, no body', () => {
    const requestHeaders = ['authorization', 'Bearer hunter2']
    const report = statusReport(
      after([
        record({ path: '/a?token=hunter2', requestHeaders, responseCode: 403, reason: 'rbac_denied', durationMs: 1.6 }),
      ]),
    )
    assert.ok(!JSON.stringify(report).includes('hunter2'))
    assert.deepEqual(report.decisions, [
      {
        at: '1970-01-01T00:00:00.000Z',
        kind: 'http',
        principal: CART,
        method: 'GET',
        host: 'site.example',
        path: '/a',
        code: 403,
        flags: '-',
        outcome: 'refused',
        reason: 'rbac_denied',
        policy: null,
        shadow: null,
        upstream: null,
        durationMs: 2,
      },
    ])
  })

  test('callers by destination, the busiest first, and what of it was refused', () => {
    const nobody = record({ responseCode: 502, reason: 'not_registered', authority: 'other.example' }, NO_PEER)
    const { callers, totals } = statusReport(
      after([nobody, record({}), record({ responseCode: 403, reason: 'rbac_denied' }), record({ responseCode: 503 })]),
    )
    assert.deepEqual(callers, [
      { principal: CART, host: 'site.example', total: 3, refused: 1 },
      { principal: 'none', host: 'other.example', total: 1, refused: 1 },
    ])
    assert.deepEqual(totals, { requests: 4, refused: 2, connections: 3, tunnels: 1 })
  })

  test('a connection refused before it asked is neither a tunnel nor counted as one', () => {
    const { decisions, totals } = statusReport(
      after([record({ kind: 'tcp', reason: 'no_client_certificate' }, NO_PEER)]),
    )
    assert.equal(decisions[0]?.kind, 'connection')
    assert.equal(totals.requests, 0)
  })
})

describe('the markup', () => {
  test('whatever text holds, it stays text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const escaped = escapeHtml(text)
        assert.ok(!/[<>"']/.test(escaped))
        assert.ok(!/&(?!(?:amp|lt|gt|quot|#39);)/.test(escaped))
      }),
    )
    assert.equal(
      html`<p title="${'"x'}">${'<b>'}${html`<i>${1}</i>`}${null}</p>`.html,
      '<p title="&quot;x">&lt;b&gt;<i>1</i></p>',
    )
    // What would make it read in another order is shown, not obeyed.
    assert.equal(escapeHtml('a\u202eb\u0000'), 'a\\u{202e}b\\u{0}')
  })

  test('markup in every field of a report is text on the page', () => {
    const evil = '<img src=x onerror=alert(1)>"\''
    const source = { file: evil, line: 1, col: 1 }
    const records = [
      record(
        {
          method: evil,
          authority: evil,
          path: evil,
          upstreamHost: evil,
          decision: { allow: false, outcome: 'deny', policy: evil, source, shadow: `deny ${evil}` },
        },
        peer(evil),
      ),
    ]
    const report = statusReport({
      ...after(records),
      serverInfo: () => ({ gateway: evil, namespace: evil, version: evil, generation: evil, uptime_seconds: evil }),
      routes: () => [{ gatewayPort: 80, host: evil, kind: 'http', leadsTo: [evil], callers: [evil], source }],
      policies: () => [{ name: evil, namespace: evil, action: evil, dryRun: true, rules: 1, source }],
      certs: () => [
        { credential: evil, path: evil, kind: 'ca', sans: [evil], notBefore: 0, notAfter: 1, serial: evil },
      ],
      lastReload: () => ({ successful: false, at: 0, errors: [evil] }),
    })
    const page = statusPage(report, 0)
    assert.ok(page.split('&lt;img').length > 12, 'it is all there')
    assert.ok(!page.includes('<img'))
    assert.ok(!page.includes(evil.slice(0, 8)))
  })

  test('an empty gateway has an empty page, with words', () => {
    const page = statusPage(statusReport(sources()), 0)
    for (const words of ['Nothing has been asked yet.', 'Nobody has called yet.', 'No certificate is in use.'])
      assert.ok(page.includes(words), words)
  })

  test('a matrix of thousands shows the busiest and says how many it leaves out', () => {
    const counts = Array.from({ length: 3000 }, (_, index) => ({
      principal: `spiffe://d/ns/n/sa/a${index % 100}`,
      host: `h${index % 30}.example`,
      total: index,
      refused: 0,
    }))
    const { html: text } = callerMatrix(counts)
    assert.equal(text.split('<tr>').length - 1, 1 + 20)
    assert.match(text, /\d{4} more pairs/)
  })

  test('SPIFFE IDs are shortened only when nothing is lost by it', () => {
    assert.equal(shortPrincipal(CART), 'shop/cart')
    assert.equal(shortPrincipal('spiffe://d/ns/a/sa/b/c'), 'spiffe://d/ns/a/sa/b/c')
    assert.equal(shortPrincipal('none'), 'no identity')
  })

  test('the policy allows this style and this script, and nothing else', () => {
    const policy = PAGE_HEADERS['content-security-policy'] ?? ''
    for (const text of [STYLE, SCRIPT])
      assert.ok(policy.includes(`'sha256-${createHash('sha256').update(text).digest('base64')}'`))
    assert.ok(policy.startsWith("default-src 'none'; "))
    assert.ok(!STYLE.includes('url(') && !STYLE.includes('@import') && !`${STYLE}${SCRIPT}`.includes('</'))
    const page = statusPage(statusReport(sources()), 0)
    assert.ok(page.includes(`<style>${STYLE}</style>`) && page.includes(`<script>${SCRIPT}</script>`))
    // Neither would run, and would only look as if it did.
    assert.ok(!/\son\w+=|\sstyle=/.test(page))
  })
})
