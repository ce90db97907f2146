/** Formats against the seeds' own lines, the default JSON, every operator, errors, and lines that no bytes can break. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { CertificateFacts, Connection } from '../../core/attributes.ts'
import { type ExchangeRecord, newRecord } from '../record.ts'
import { DEFAULT_JSON } from './defaults.ts'
import { AccessLogFormatError } from './error.ts'
import { checkAccessLogFormat, compileAccessLog } from './format.ts'
import { OPERATORS } from './operators.ts'

const CERTIFICATE: CertificateFacts = {
  sha256: 'ab12',
  subject: '',
  issuer: 'O=cluster.local',
  serial: '0a',
  uriSans: ['spiffe://cluster.local/ns/mytest/sa/sleep-a'],
  dnsSans: ['a.example', 'b.example'],
  notBefore: Date.parse('2023-01-01T00:00:00Z'),
  notAfter: Date.parse('2023-01-02T00:00:00Z'),
}

function connection(changes: Partial<Connection> = {}): Connection {
  return {
    id: 7,
    openedAt: 0,
    remoteAddress: '10.34.0.140',
    remotePort: 47942,
    localAddress: '10.34.0.141',
    localPort: 80,
    gatewayPort: 80,
    peer: { kind: 'none' },
    tls: null,
    ...changes,
  }
}

function record(changes: Partial<ExchangeRecord> = {}, on: Connection = connection(), at = '2022-11-30T08:03:01.315Z') {
  return Object.assign(newRecord(changes.kind ?? 'http', on, Date.parse(at)), changes, { connection: on })
}

/** Seed 003's request: HEAD http://aliyun.com/ through the gateway. */
const SEED_003 = record({
  method: 'HEAD',
  path: '/',
  protocol: 'HTTP/1.1',
  authority: 'aliyun.com',
  requestHeaders: ['host', 'aliyun.com', 'user-agent', 'curl/7.86.0-DEV', 'accept', '*/*'],
  requestId: '55789d59-9b81-4e39-b64a-66baf44e****',
  xForwardedFor: '10.34.0.140',
  responseCode: 301,
  responseCodeDetails: 'via_upstream',
  durationMs: 24.7,
  upstreamServiceTimeMs: 24.2,
  upstreamHost: '106.11.XXX.XX:80',
  upstreamLocalAddress: '10.34.0.141:60388',
  upstreamCluster: 'outbound|80||aliyun.com',
})

describe('access log lines of the seeds', () => {
  test('003: every field of the ASM line, with its type', () => {
    const seed = JSON.parse(
      '{"trace_id":null,"upstream_host":"106.11.XXX.XX:80","downstream_remote_address":"10.34.0.140:47942","requested_server_name":null,"response_code":301,"upstream_service_time":"24","user_agent":"curl/7.86.0-DEV","path":"/","route_name":null,"bytes_sent":0,"response_flags":"-","upstream_local_address":"10.34.0.141:60388","duration":24,"upstream_cluster":"outbound|80||aliyun.com","upstream_transport_failure_reason":null,"authority":"aliyun.com","request_id":"55789d59-9b81-4e39-b64a-66baf44e****","protocol":"HTTP/1.1","bytes_received":0,"method":"HEAD","downstream_local_address":"10.34.0.141:80","start_time":"2022-11-30T08:03:01.315Z","istio_policy_status":null,"x_forwarded_for":"10.34.0.140"}',
    ) as Record<string, unknown>
    const ours = JSON.parse(compileAccessLog('JSON', '')(SEED_003)) as Record<string, unknown>
    for (const [key, value] of Object.entries(seed)) {
      // Mixer's field; gone from Istio's own default since 1.9.
      if (key !== 'istio_policy_status') assert.deepEqual(ours[key], value, key)
    }
    const withMixer = compileAccessLog('JSON', '{"istio_policy_status":"%DYNAMIC_METADATA(istio.mixer:status)%"}')
    assert.equal(withMixer(SEED_003), '{"istio_policy_status":null}\n')
  })

  test('000: a tunnel that went to BlackHoleCluster', () => {
    const refused = record(
      { kind: 'tcp', flags: ['UH'], upstreamCluster: 'BlackHoleCluster', reason: 'not_registered' },
      connection({ remoteAddress: '172.16.0.199', remotePort: 56748, localAddress: '52.86.XX.XX', localPort: 443 }),
      '2023-04-11T02:00:07.409Z',
    )
    const line = JSON.parse(compileAccessLog('JSON', '')(refused)) as Record<string, unknown>
    // The seed's line is of the older all-strings style: `"0"` and `"-"` are 0 and null in ours.
    assert.equal(line['response_code'], 0)
    assert.equal(line['response_flags'], 'UH')
    assert.equal(line['upstream_cluster'], 'BlackHoleCluster')
    assert.equal(line['downstream_remote_address'], '172.16.0.199:56748')
    assert.equal(line['start_time'], '2023-04-11T02:00:07.409Z')
    for (const key of [
      'authority',
      'method',
      'path',
      'protocol',
      'upstream_host',
      'user_agent',
      'upstream_service_time',
    ]) {
      assert.equal(line[key], null, key)
    }
    assert.equal(line['reason'], 'not_registered')
  })

  const OLD_TEXT =
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ' +
    '%DYNAMIC_METADATA(istio.mixer:status)% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ' +
    '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" ' +
    '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% ' +
    '%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n'
  const tls = { sni: 'edition.cnn.com', alpn: null, version: 'TLSv1.3', cipher: 'x' }

  test('002: HTTP in the TEXT format of its time', () => {
    const http = record(
      {
        method: 'GET',
        path: '/politics',
        protocol: 'HTTP/2',
        responseCode: 301,
        durationMs: 90,
        upstreamServiceTimeMs: 89,
        xForwardedFor: '10.244.2.10',
        requestHeaders: ['user-agent', 'curl/7.64.0'],
        requestId: 'ea379962-9b5c-4431-ab66-f01994f5a5a5',
        authority: 'edition.cnn.com',
        upstreamHost: '151.101.65.67:80',
        upstreamCluster: 'outbound|80||edition.cnn.com',
      },
      connection({ remoteAddress: '10.244.2.10', remotePort: 50482, localAddress: '10.244.1.5', tls }),
      '2019-09-03T20:57:49.103Z',
    )
    assert.equal(
      compileAccessLog('TEXT', OLD_TEXT)(http),
      '[2019-09-03T20:57:49.103Z] "GET /politics HTTP/2" 301 - - "-" 0 0 90 89 "10.244.2.10" "curl/7.64.0" "ea379962-9b5c-4431-ab66-f01994f5a5a5" "edition.cnn.com" "151.101.65.67:80" outbound|80||edition.cnn.com - 10.244.1.5:80 10.244.2.10:50482 edition.cnn.com -\n',
    )
  })

  test('002: a tunnel, in today’s default TEXT format', () => {
    const tunnel = record(
      {
        kind: 'tcp',
        bytesReceived: 627,
        bytesSent: 1879689,
        durationMs: 44,
        upstreamHost: '151.101.129.67:443',
        upstreamCluster: 'outbound|443||edition.cnn.com',
        upstreamLocalAddress: '172.30.109.80:41122',
      },
      connection({
        remoteAddress: '172.30.109.112',
        remotePort: 59970,
        localAddress: '172.30.109.80',
        localPort: 443,
        tls,
      }),
      '2019-01-02T11:46:46.981Z',
    )
    assert.equal(
      compileAccessLog('TEXT', '')(tunnel),
      '[2019-01-02T11:46:46.981Z] "- - -" 0 - - - "-" 627 1879689 44 - "-" "-" "-" "-" "151.101.129.67:443" outbound|443||edition.cnn.com 172.30.109.80:41122 172.30.109.80:443 172.30.109.112:59970 edition.cnn.com -\n',
    )
  })
})

describe('default JSON', () => {
  test('the fields of the contract, in its order', () => {
    const line = compileAccessLog('JSON', '')(SEED_003)
    assert.deepEqual(Object.keys(JSON.parse(line) as object), [
      'start_time',
      'route_name',
      'method',
      'path',
      'protocol',
      'response_code',
      'response_flags',
      'response_code_details',
      'connection_termination_details',
      'bytes_received',
      'bytes_sent',
      'duration',
      'upstream_service_time',
      'x_forwarded_for',
      'user_agent',
      'request_id',
      'authority',
      'upstream_host',
      'upstream_cluster',
      'upstream_local_address',
      'downstream_local_address',
      'downstream_remote_address',
      'requested_server_name',
      'upstream_transport_failure_reason',
      'trace_id',
      'downstream_peer_uri_san',
      'source_namespace',
      'authz_decision',
      'authz_policy',
      'authz_shadow',
      'inner_server_name',
      'reason',
    ])
  })

  test('golden: an allowed request of a known caller', () => {
    const id = {
      uri: 'spiffe://cluster.local/ns/mytest/sa/sleep-a',
      trustDomain: 'cluster.local',
      namespace: 'mytest',
      serviceAccount: 'sleep-a',
    }
    const allowed = record(
      {
        ...SEED_003,
        decision: {
          allow: true,
          outcome: 'allow',
          policy: 'ns[istio-system]-policy[p]-rule[0]',
          source: null,
          shadow: null,
        },
        originalPath: '/before?x=1',
        traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
        routeName: 'httpbin-service-http',
        flags: ['DC', 'UF'],
        responseCodeDetails: 'some text',
        innerServerName: 'inner.example',
      },
      connection({
        peer: { kind: 'spiffe', id, certificate: CERTIFICATE },
        tls: { sni: 'outer.example', alpn: null, version: 'TLSv1.3', cipher: 'x' },
      }),
    )
    assert.equal(
      compileAccessLog('JSON', '')(allowed),
      '{"start_time":"2022-11-30T08:03:01.315Z","route_name":"httpbin-service-http","method":"HEAD","path":"/before?x=1","protocol":"HTTP/1.1","response_code":301,"response_flags":"UF,DC","response_code_details":"some_text","connection_termination_details":null,"bytes_received":0,"bytes_sent":0,"duration":24,"upstream_service_time":"24","x_forwarded_for":"10.34.0.140","user_agent":"curl/7.86.0-DEV","request_id":"55789d59-9b81-4e39-b64a-66baf44e****","authority":"aliyun.com","upstream_host":"106.11.XXX.XX:80","upstream_cluster":"outbound|80||aliyun.com","upstream_local_address":"10.34.0.141:60388","downstream_local_address":"10.34.0.141:80","downstream_remote_address":"10.34.0.140:47942","requested_server_name":"outer.example","upstream_transport_failure_reason":null,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","downstream_peer_uri_san":"spiffe://cluster.local/ns/mytest/sa/sleep-a","source_namespace":"mytest","authz_decision":"allow","authz_policy":"ns[istio-system]-policy[p]-rule[0]","authz_shadow":null,"inner_server_name":"inner.example","reason":null}\n',
    )
  })

  test('a refused handshake: no identity, decision none, the reason', () => {
    const refused = record({ kind: 'tcp', reason: 'no_client_certificate' })
    const line = JSON.parse(compileAccessLog('JSON', '')(refused)) as Record<string, unknown>
    assert.equal(line['downstream_peer_uri_san'], null)
    assert.equal(line['authz_decision'], 'none')
    assert.equal(line['reason'], 'no_client_certificate')
    assert.equal(line['response_code'], 0)
  })
})

describe('operators', () => {
  const print = (format: string, of: ExchangeRecord = SEED_003) => compileAccessLog('TEXT', format)(of).slice(0, -1)
  const withCertificate = record({}, connection({ peer: { kind: 'certificate', certificate: CERTIFICATE } }))

  const cases: readonly (readonly [format: string, expected: string, record?: ExchangeRecord])[] = [
    ['%REQ(user-agent)%', 'curl/7.86.0-DEV'],
    ['%REQ(User-Agent):4%', 'curl'],
    ['%REQ(X-MISSING?ACCEPT)%', '*/*'],
    ['%REQ(X-MISSING)%', '-'],
    ['%REQ(:SCHEME)%', 'http'],
    ['%REQ_WITHOUT_QUERY(:PATH)%', '/a', record({ path: '/a?b=c?d' })],
    ['%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%', '24'],
    [
      '%RESP(content-type)%',
      'text/html',
      record({ responseHeaders: ['content-type', 'text/html', 'content-type', 'x/y'] }),
    ],
    ['%START_TIME(%Y-%m-%d %H:%M:%S.%3f %s)%', '2022-11-30 08:03:01.315 1669795381'],
    [
      '%START_TIME(%d/%b/%Y:%T %z, %a %j %I%p %e %6f %E3S)%',
      '30/Nov/2022:08:03:01 +0000, Wed 334 08AM 30 315000 01.315',
    ],
    ['100%%', '100%'],
    [
      '%RESPONSE_FLAGS_LONG%',
      'UpstreamConnectionFailure,DownstreamConnectionTermination',
      record({ flags: ['DC', 'UF'] }),
    ],
    ['%RESPONSE_TX_DURATION%', '5', record({ durationMs: 24, responseDurationMs: 19 })],
    ['%RESPONSE_TX_DURATION%', '-'],
    ['%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%', '24700'],
    ['%COMMON_DURATION(US_CX_BEG:US_CX_END:ms)%', '-'],
    [
      '%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%',
      'PermissionDenied PERMISSION_DENIED 7',
      record({ grpcStatus: 7 }),
    ],
    ['%GRPC_STATUS%', '99', record({ grpcStatus: 99 })],
    [
      '%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %UPSTREAM_REMOTE_PORT%',
      '2001:db8::1 443',
      record({ upstreamHost: '[2001:db8::1]:443' }),
    ],
    ['%DOWNSTREAM_REMOTE_ADDRESS%', '[::1]:9', record({}, connection({ remoteAddress: '::1', remotePort: 9 }))],
    [
      '%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_DNS_SAN%',
      'spiffe://cluster.local/ns/mytest/sa/sleep-a a.example,b.example',
      withCertificate,
    ],
    [
      '%DOWNSTREAM_PEER_CERT_V_START(%F)% %DOWNSTREAM_PEER_CERT_V_END%',
      '2023-01-01 2023-01-02T00:00:00.000Z',
      withCertificate,
    ],
    ['%DOWNSTREAM_PEER_SUBJECT%|%DOWNSTREAM_PEER_ISSUER%', '-|O=cluster.local', withCertificate],
    ['%FILTER_STATE(x:PLAIN):9%', '-'],
    ['%ENVIRONMENT(SALLYPORT_SURELY_UNSET)%', '-'],
  ]
  for (const [format, expected, of] of cases) {
    test(`${format} → ${expected}`, () => assert.equal(print(format, of), expected))
  }

  test('a certificate with an impossible date does not break the line', () => {
    const odd = { ...CERTIFICATE, notAfter: Number.NaN, notBefore: 9e15 }
    const of = record({}, connection({ peer: { kind: 'certificate', certificate: odd } }))
    assert.equal(print('%DOWNSTREAM_PEER_CERT_V_START% %DOWNSTREAM_PEER_CERT_V_END(%F)%', of), '- -')
  })

  test('a caller cannot forge what only the gateway knows', () => {
    const forged = record({
      path: '/real',
      requestId: 'real',
      requestHeaders: ['x-envoy-original-path', '/forged', 'x-request-id', 'forged'],
      responseHeaders: ['x-envoy-upstream-service-time', '1'],
    })
    assert.equal(
      print('%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %REQ(X-REQUEST-ID)% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%', forged),
      '/real real -',
    )
  })

  test('every row compiles with a plausible argument and reads a blank record', () => {
    const argument: Record<string, string> = { COMMON_DURATION: '(DS_RX_BEG:DS_TX_END:ms)', CEL: '(response.code)' }
    for (const [name, row] of Object.entries(OPERATORS)) {
      const text = `%${name}${row.argument === 'required' ? (argument[name] ?? '(x)') : ''}%`
      const line = compileAccessLog('JSON', JSON.stringify({ value: text }))(record())
      const { value } = JSON.parse(line) as { value: unknown }
      if ('noData' in row) assert.equal(value, null, name)
      else assert.ok(value === null || typeof value === 'string' || typeof value === 'number', name)
    }
  })
})

describe('JSON formats', () => {
  test('one operator keeps its type, more is a string; nested objects and constants stay', () => {
    const format = {
      code: '%RESPONSE_CODE%',
      text: 'code %RESPONSE_CODE% %REQ(X-MISSING)%',
      missing: '%REQ(X-MISSING)%',
      constant: 'a "b" 100%%',
      nested: { list: ['%BYTES_SENT%', 1, true, null], empty: {} },
    }
    assert.deepEqual(JSON.parse(compileAccessLog('JSON', JSON.stringify(format))(SEED_003)), {
      code: 301,
      text: 'code 301 -',
      missing: null,
      constant: 'a "b" 100%',
      nested: { list: [0, 1, true, null], empty: {} },
    })
  })

  test('a field called __proto__ is a field', () => {
    assert.equal(compileAccessLog('JSON', '{"__proto__":"%RESPONSE_CODE%"}')(SEED_003), '{"__proto__":301}\n')
  })
})

describe('styles', () => {
  const strings = { omitEmptyValues: false, jsonStyle: 'strings' } as const
  const sparse = { omitEmptyValues: true, jsonStyle: 'typed' } as const

  test('strings: the line of seed 000, byte for byte', () => {
    const seed =
      '{"authority":"-","bytes_received":"0","bytes_sent":"0","downstream_local_address":"52.86.XX.XX:443","downstream_remote_address":"172.16.0.199:56748","duration":"0","istio_policy_status":"-","method":"-","response_code":"0","response_flags":"UH","start_time":"2023-04-11T02:00:07.409Z","upstream_cluster":"BlackHoleCluster","upstream_host":"-"}'
    const format = {
      authority: '%REQ(:AUTHORITY)%',
      bytes_received: '%BYTES_RECEIVED%',
      bytes_sent: '%BYTES_SENT%',
      downstream_local_address: '%DOWNSTREAM_LOCAL_ADDRESS%',
      downstream_remote_address: '%DOWNSTREAM_REMOTE_ADDRESS%',
      duration: '%DURATION%',
      istio_policy_status: '%DYNAMIC_METADATA(istio.mixer:status)%',
      method: '%REQ(:METHOD)%',
      response_code: '%RESPONSE_CODE%',
      response_flags: '%RESPONSE_FLAGS%',
      start_time: '%START_TIME%',
      upstream_cluster: '%UPSTREAM_CLUSTER%',
      upstream_host: '%UPSTREAM_HOST%',
    }
    const refused = record(
      { kind: 'tcp', flags: ['UH'], upstreamCluster: 'BlackHoleCluster' },
      connection({ remoteAddress: '172.16.0.199', remotePort: 56748, localAddress: '52.86.XX.XX', localPort: 443 }),
      '2023-04-11T02:00:07.409Z',
    )
    assert.equal(compileAccessLog('JSON', JSON.stringify(format), strings)(refused), `${seed}\n`)
  })

  test('omitEmptyValues: no key for what is missing, at any depth; lists keep their places', () => {
    const format = {
      code: '%RESPONSE_CODE%',
      missing: '%REQ(X-MISSING)%',
      text: '[%REQ(X-MISSING)%]',
      nested: { missing: '%REQ(X-MISSING)%', list: ['%REQ(X-MISSING)%', 1], none: null },
      empty: { missing: '%REQ(X-MISSING)%' },
    }
    assert.equal(
      compileAccessLog('JSON', JSON.stringify(format), sparse)(SEED_003),
      '{"code":301,"text":"[]","nested":{"list":[null,1]},"empty":{}}\n',
    )
    assert.equal(
      compileAccessLog('JSON', JSON.stringify(format), { omitEmptyValues: true, jsonStyle: 'strings' })(SEED_003),
      '{"code":"301","text":"[]","nested":{"list":[null,1]},"empty":{}}\n',
    )
    assert.equal(compileAccessLog('TEXT', 'a%REQ(X-MISSING)%b %RESPONSE_FLAGS%', sparse)(SEED_003), 'ab -\n')
  })

  test('the default format in either style has the same fields', () => {
    const line = JSON.parse(compileAccessLog('JSON', '', strings)(SEED_003)) as Record<string, unknown>
    assert.deepEqual(Object.keys(line), Object.keys(DEFAULT_JSON))
    assert.ok(Object.values(line).every((value) => typeof value === 'string'))
    const short = JSON.parse(compileAccessLog('JSON', '', sparse)(SEED_003)) as Record<string, unknown>
    assert.ok(Object.values(short).every((value) => value !== null))
    assert.deepEqual(
      Object.keys(short),
      Object.keys(DEFAULT_JSON).filter((key) => key in short),
    )
  })
})

describe('formats that do not compile', () => {
  const cases: readonly (readonly ['JSON' | 'TEXT', string, RegExp])[] = [
    ['TEXT', 'x %NO_SUCH_THING%', /column 3: %NO_SUCH_THING%: unknown operator/],
    ['TEXT', '100%', /column 4: "%" starts no operator/],
    ['TEXT', '%req(x)%', /column 1/],
    ['TEXT', '%REQ%', /needs an argument/],
    ['TEXT', '%REQ(A?B?C)%', /one header name, or two/],
    ['TEXT', '%PROTOCOL(x)%', /takes no argument/],
    ['TEXT', '%START_TIME(%Q)%', /unknown conversion "%Q"/],
    ['TEXT', '%GRPC_STATUS(LOUD)%', /CAMEL_STRING/],
    ['TEXT', '%COMMON_DURATION(A:B)%', /FROM:TO:ms/],
    ['TEXT', 'two\nlines', /one line/],
    ['JSON', '%START_TIME%', /must be a JSON object/],
    ['JSON', '["%START_TIME%"]', /must be a JSON object/],
    ['JSON', '{"a":{"b":"%NOPE%"}}', /^"a\.b", column 1: %NOPE%: unknown operator/],
    ['TEXT', '%RESPONSE_CODE_DETAILS(X)%', /ALLOW_WHITESPACES/],
    ['TEXT', '%CEL(response.cod)%', /column 1: %CEL%: column 1 of the expression: unknown attribute response\.cod/],
    ['TEXT', '%CEL(1 +)%', /unexpected end/],
  ]
  for (const [encoding, format, message] of cases) {
    test(`${encoding} ${JSON.stringify(format)}`, () => {
      assert.throws(
        () => compileAccessLog(encoding, format),
        (error) => error instanceof AccessLogFormatError && message.test(error.message),
      )
      assert.match(checkAccessLogFormat(encoding, format) ?? '', message)
    })
  }
  test('a good format has no complaint', () => {
    assert.equal(checkAccessLogFormat('JSON', ''), null)
    assert.equal(checkAccessLogFormat('TEXT', '%REQ(:METHOD)%\n'), null)
  })
})

describe('hostile values', () => {
  /** Every byte as Node hands it over (latin-1), and any UTF-16 code unit, half surrogate pairs included. */
  const bytes = fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array).toString('latin1'))
  const units = fc
    .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 20 })
    .map((codes) => String.fromCharCode(...codes))
  const hostile = fc.oneof(
    bytes,
    units,
    fc.constantFrom('"', '\\', '\n', '\r\n{"forged":1}', '\u2028', '\ud800', '\u001b[31m', '\u009b'),
  )

  const hostileRecord = fc
    .tuple(...Array.from({ length: 12 }, () => hostile))
    .map(([method, path, authority, agent, sni, san, route, failure, cluster, host, trace, inner]) =>
      record(
        {
          method: method as string,
          path: path as string,
          authority: authority as string,
          requestHeaders: ['user-agent', agent as string],
          routeName: route as string,
          upstreamTransportFailure: failure as string,
          upstreamCluster: cluster as string,
          upstreamHost: host as string,
          traceId: trace as string,
          innerServerName: inner as string,
          xForwardedFor: agent as string,
          requestId: path as string,
        },
        connection({
          peer: { kind: 'certificate', certificate: { ...CERTIFICATE, uriSans: [san as string] } },
          tls: { sni: sni as string, alpn: null, version: 'x', cipher: 'y' },
        }),
      ),
    )

  const json = compileAccessLog('JSON', '')
  const text = compileAccessLog('TEXT', '')

  test('JSON: always one line, valid, printable, and the value survives', () => {
    fc.assert(
      fc.property(hostileRecord, (of) => {
        const line = json(of)
        // oxlint-disable-next-line no-control-regex
        assert.doesNotMatch(line.slice(0, -1), /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/)
        assert.ok(line.endsWith('}\n'))
        assert.ok(line.isWellFormed())
        const parsed = JSON.parse(line) as Record<string, unknown>
        assert.deepEqual(Object.keys(parsed), Object.keys(DEFAULT_JSON))
        assert.equal(parsed['path'], of.path?.toWellFormed())
        assert.equal(parsed['requested_server_name'], of.connection.tls?.sni?.toWellFormed())
        assert.equal(parsed['user_agent'], of.requestHeaders[1]?.toWellFormed())
      }),
      { numRuns: 500 },
    )
  })

  test('TEXT: always one printable line in which no value closes its quotes', () => {
    const quotes = text(record()).match(/"/g)?.length
    fc.assert(
      fc.property(hostileRecord, (of) => {
        const line = text(of)
        // oxlint-disable-next-line no-control-regex
        assert.doesNotMatch(line.slice(0, -1), /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/)
        assert.ok(line.endsWith('\n'))
        const bare = line.replace(/\\\\|\\"/g, '')
        assert.equal(bare.match(/"/g)?.length, quotes)
      }),
      { numRuns: 500 },
    )
  })

  test('TEXT: an SNI with spaces cannot forge a field', () => {
    const of = record({}, connection({ tls: { sni: 'a b - c', alpn: null, version: 'x', cipher: 'y' } }))
    assert.match(text(of), / a\\x20b\\x20-\\x20c -\n$/)
  })

  test('repeated and changing values are each printed as they are', () => {
    const values = ['a', 'a', 'b\n', 'b\n', '', 'a']
    const lines = values.map((path) => (JSON.parse(json(record({ path }))) as { path: string }).path)
    assert.deepEqual(lines, values)
  })
})
