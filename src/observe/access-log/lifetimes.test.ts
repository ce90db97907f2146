/** What is kept of a line is never another record's: every line is what a log that has printed nothing before would print. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Connection, Peer } from '../../core/attributes.ts'
import { type ExchangeRecord, newRecord } from '../record.ts'
import { compileAccessLog } from './format.ts'
import { LIFETIMES, lifetimeOf } from './lifetimes.ts'
import { OPERATORS } from './operators.ts'

const value = fc.option(fc.constantFrom('a', 'b', 'c', '"', '', 'é'))
const text = fc.constantFrom('a', 'b', 'c', '"', '', 'é')

const certificate = fc.record({
  sha256: text,
  subject: text,
  issuer: text,
  serial: text,
  uriSans: fc.array(text, { maxLength: 2 }),
  dnsSans: fc.array(text, { maxLength: 2 }),
  notBefore: fc.nat(),
  notAfter: fc.nat(),
})
const peer: fc.Arbitrary<Peer> = fc.oneof(
  fc.constant({ kind: 'none' } as const),
  certificate.map((facts) => ({ kind: 'certificate', certificate: facts }) as const),
  fc.tuple(certificate, value).map(
    ([facts, namespace]) =>
      ({
        kind: 'spiffe',
        certificate: facts,
        id: { uri: 'spiffe://a', trustDomain: 'a', namespace, serviceAccount: null },
      }) as const,
  ),
)
/** Few numbers, and such as share their last digits: several connections may have one place. */
const connection: fc.Arbitrary<Connection> = fc.record({
  id: fc.constantFrom(1, 2, 257, 513, 2 ** 32 + 1),
  openedAt: fc.nat(3),
  remoteAddress: fc.constantFrom('10.0.0.1', '::1'),
  remotePort: fc.nat(3),
  localAddress: fc.constantFrom('10.0.0.1', '::1'),
  localPort: fc.nat(3),
  gatewayPort: fc.nat(3),
  peer,
  tls: fc.option(fc.record({ sni: value, alpn: value, version: text, cipher: text })),
})
/** Long enough to be two of one place, too long to be kept, or no bytes. */
const longer = fc.constantFrom(
  '10.0.0.1:4001',
  '10.0.1.1:4001',
  '10.9.9.9:4701',
  'x'.repeat(300),
  'a\u20acb',
  '\\',
  null,
)
const changes = fc.record({
  startedAt: fc.constantFrom(1_700_000_000_000, 1_700_000_000_064, 1_700_000_000_065),
  upstreamLocalAddress: longer,
  xForwardedFor: longer,
  upstreamServiceTimeMs: fc.constantFrom(null, 0, 1, 11, 21, 121),
  requestHeaders: longer.map((agent) => (agent === null ? [] : ['user-agent', agent])),
  method: value,
  protocol: fc.constantFrom('HTTP/1.0', 'HTTP/1.1', null),
  path: value,
  originalPath: value,
  authority: value,
  requestId: value,
  traceId: value,
  responseCode: fc.constantFrom(0, 200, 404),
  responseCodeDetails: value,
  connectionTerminationDetails: value,
  reason: fc.constantFrom('rbac_denied', null),
  flags: fc.constantFrom<ExchangeRecord['flags']>([], ['UF'], ['UF', 'URX']),
  bytesSent: fc.nat(3),
  durationMs: fc.nat(3),
  upstreamHost: value,
  upstreamCluster: value,
  upstreamProtocol: fc.constantFrom('HTTP/1.1', 'HTTP/2', null),
  upstreamTransportFailure: value,
  upstreamAttempts: fc.nat(2),
  routeName: value,
  innerServerName: value,
  decision: fc.option(
    fc.record({
      allow: fc.boolean(),
      outcome: fc.constantFrom('allow', 'deny'),
      policy: value,
      source: fc.constant(null),
      shadow: value,
    }),
  ),
  grpcStatus: fc.option(fc.nat(16)),
  isGrpc: fc.boolean(),
}) as fc.Arbitrary<Partial<ExchangeRecord>>

const kindOf = fc.constantFrom('http', 'tcp')
const recordOf = (kind: 'http' | 'tcp', on: Connection, rest: Partial<ExchangeRecord>): ExchangeRecord =>
  Object.assign(newRecord(kind, on, 1_700_000_000_000), rest)

/** Fields of each kind, cut ones among them. */
const SOME = [
  ...['%REQ(:METHOD)%', '%REQ(:AUTHORITY)%', '%REQ(:METHOD):0%', '%REQ(USER-AGENT)%', '%REQ(USER-AGENT):3%'],
  ...['%REQ(X-FORWARDED-FOR)%', '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%', '%START_TIME(%s.%3f)%'],
]

/** Every operator that can stand without an argument. */
const names = Object.entries(OPERATORS).flatMap(([name, { argument }]) => (argument === 'required' ? [] : [name]))

describe('what a log keeps', () => {
  const everything = [...names.map((name) => `%${name}%`), ...SOME]
  const formats = [
    ['JSON', ''],
    ['TEXT', ''],
    ['JSON', JSON.stringify(Object.fromEntries(everything.map((operator, i) => [String(i), operator])))],
    ['TEXT', everything.join(' ')],
  ] as const
  const styles = [
    { omitEmptyValues: false, jsonStyle: 'typed' },
    { omitEmptyValues: false, jsonStyle: 'strings' },
    { omitEmptyValues: true, jsonStyle: 'typed' },
  ] as const
  for (const [encoding, format] of formats)
    for (const style of styles)
      test(`${encoding} ${format.slice(0, 20)} ${JSON.stringify(style)}`, () => {
        const print = compileAccessLog(encoding, format, style)
        fc.assert(
          fc.property(
            fc.array(connection, { minLength: 1, maxLength: 5 }),
            fc.array(fc.tuple(kindOf, fc.nat(4), changes), { minLength: 20, maxLength: 60 }),
            (connections, all) => {
              for (const [kind, index, rest] of all) {
                const record = recordOf(kind, connections[index % connections.length] as Connection, rest)
                assert.equal(print(record), compileAccessLog(encoding, format, style)(record))
              }
            },
          ),
          { numRuns: 10 },
        )
      })

  test('what lasts as long as a connection depends on nothing else', () => {
    const lasting = names.filter((name) => lifetimeOf(name, '') === 'connection')
    assert.ok(lasting.length > 20)
    fc.assert(
      fc.property(connection, changes, changes, fc.tuple(kindOf, kindOf), (on, one, other, [kind, otherKind]) => {
        for (const name of lasting) {
          const { build } = OPERATORS[name as keyof typeof OPERATORS]
          const read = build('')
          assert.equal(read(recordOf(kind, on, one)), read(recordOf(otherKind, on, other)), name)
        }
      }),
    )
  })

  test('what lasts as long as a moment depends on nothing else', () => {
    const lasting = names.filter((name) => lifetimeOf(name, '') === 'moment')
    assert.deepEqual(lasting, ['START_TIME'])
    fc.assert(
      fc.property(connection, connection, changes, changes, fc.tuple(kindOf, kindOf), (on, off, one, other, kinds) => {
        for (const name of lasting) {
          const read = OPERATORS[name as keyof typeof OPERATORS].build('')
          const { startedAt } = one
          const value = read(recordOf(kinds[0], on, one))
          assert.equal(
            value,
            read(recordOf(kinds[1], off, { ...other, ...(startedAt === undefined ? {} : { startedAt }) })),
          )
        }
      }),
    )
  })

  test('durations, ids, paths and sizes are not kept', () => {
    for (const name of ['EMIT_TIME', 'DURATION', 'BYTES_SENT', 'TRACE_ID', 'STREAM_ID'])
      assert.equal(lifetimeOf(name, ''), 'line', name)
    for (const argument of ['X-REQUEST-ID', ':PATH', 'COOKIE', ':METHOD?X'])
      assert.equal(lifetimeOf('REQ', argument), 'line', argument)
    assert.equal(lifetimeOf('REQ', ':METHOD'), 'few')
    assert.equal(lifetimeOf('REQ', 'User-Agent'), 'often')
    assert.equal(lifetimeOf('RESP', 'USER-AGENT'), 'line')
    assert.deepEqual(
      Object.keys(LIFETIMES).filter((name) => !(name in OPERATORS)),
      [],
    )
  })
})
