/** TABLE of mistakes in VirtualServices. */
import type { Broken } from './edit.ts'

const VS = 'virtual-service.yaml'
type Says = readonly [code: Broken[6], severity?: Broken[5]]

/** An edit of walk-through 001's VirtualService. */
function vs(mistake: string, from: string, to: string, ...[code, severity = 'error']: Says): Broken {
  return [mistake, 'seed-001', VS, from, to, severity, code]
}

/** Its second rule, the one for the gateway. */
const ROUTE = '      route:\n        - destination:\n            host: www.aliyun.com'

/** More in that rule. */
function rule(mistake: string, lines: string, ...says: Says): Broken {
  return vs(mistake, ROUTE, `      ${lines}\n${ROUTE}`, ...says)
}

/** The whole of that rule, but for its destination. */
const RULE =
  '    - match:\n        - gateways:\n            - istio-system/istio-egressgateway\n          port: 80\n      route:\n        - destination:'

const MATCH = '            - istio-system/istio-egressgateway\n          port: 80'
/** More in its match. */
function match(mistake: string, line: string, ...says: Says): Broken {
  return vs(mistake, MATCH, `${MATCH}\n          ${line}`, ...says)
}

const DESTINATION =
  '            host: www.aliyun.com\n            port:\n              number: 80\n          weight: 100'
const action = (mistake: string, lines: string, ...says: Says): Broken =>
  vs(mistake, `      route:\n        - destination:\n${DESTINATION}`, `      ${lines}`, ...says)

/** Walk-through 002's, with the application's own TLS. */
function tls(mistake: string, from: string, to: string, ...[code, severity = 'error']: Says): Broken {
  return [mistake, 'seed-002-tls-mtls', 'egress.yaml', from, to, severity, code]
}

const TCP_ROUTE =
  '            host: edition.cnn.com\n            port:\n              number: 443\n          weight: 100'

export const BROKEN_ROUTES: readonly Broken[] = [
  // Top level
  vs(
    'a host twice',
    '  hosts:\n    - www.aliyun.com',
    '  hosts:\n    - www.aliyun.com\n    - ▸www.aliyun.com',
    'SP4000',
  ),
  vs(
    'hosts that overlap',
    '  hosts:\n    - www.aliyun.com',
    '  hosts:\n    - www.aliyun.com\n    - ▸"*.aliyun.com"',
    'SP4029',
  ),
  vs('a host with a path', '    - www.aliyun.com', '    - ▸www.aliyun.com/', 'SP4004'),
  vs('a wildcard without a dot', '    - www.aliyun.com', '    - ▸"*aliyun.com"', 'SP4004'),
  vs('everything, for sidecars too', '  hosts:\n    - www.aliyun.com', '  ▸hosts:\n    - "*"', 'SP4000'),
  vs(
    'a delegate with gateways',
    '  gateways:\n    - mesh\n    - istio-system/istio-egressgateway\n  hosts:\n    - www.aliyun.com\n',
    '  ▸gateways:\n    - mesh\n    - istio-system/istio-egressgateway\n',
    'SP4000',
  ),
  vs(
    'a Gateway’s name with two slashes',
    '  gateways:\n    - mesh\n    - istio-system/istio-egressgateway',
    '  gateways:\n    - mesh\n    - ▸istio-system/istio/egressgateway',
    'SP4000',
  ),
  vs(
    'a Gateway that does not exist',
    '  gateways:\n    - mesh\n    - istio-system/istio-egressgateway',
    '  gateways:\n    - mesh\n    - ▸istio-system/egress',
    'SP4020',
    'warning',
  ),
  vs(
    'exportTo that is no namespace',
    '  exportTo:\n    - istio-system\n    - demo-frontend',
    '  ▸exportTo: [Demo Frontend]',
    'SP4000',
  ),
  vs('http that is a map', '  http:\n', '  ▸http: {}\n  x:\n', 'SP1000'),
  vs(
    'a misspelt field',
    '      route:\n        - destination:\n            host: www.aliyun.com',
    `      ▸retires: { attempts: 1 }\n${ROUTE}`,
    'SP1030',
    'warning',
  ),
  // Actions
  vs(
    'no action',
    `${RULE}\n${DESTINATION}`,
    RULE.replace('match', '▸match').replace(/ {6}route.*/s, '      timeout: 1s'),
    'SP4027',
  ),
  vs(
    'two actions',
    RULE,
    RULE.replace('match', '▸match').replace('      route', '      redirect: { uri: /x }\n      route'),
    'SP4027',
  ),
  vs(
    'no destination host',
    '        - destination:\n            host: www.aliyun.com\n',
    '        - ▸destination:\n',
    'SP1033',
  ),
  vs('a destination that is a URL', 'host: www.aliyun.com', 'host: ▸http://www.aliyun.com', 'SP4000'),
  vs('a destination of all hosts', 'host: www.aliyun.com', 'host: ▸"*"', 'SP4000'),
  vs(
    'a destination that nobody registered',
    'destination:\n            host: www.aliyun.com',
    '▸destination:\n            host: www.aliyun.org',
    'SP7001',
    'warning',
  ),
  vs(
    'a destination port of 0',
    'host: www.aliyun.com\n            port:\n              number: 80',
    'host: www.aliyun.com\n            port:\n              number: ▸0',
    'SP1000',
  ),
  vs('a weight below 0', `${DESTINATION}`, DESTINATION.replace('100', '▸-1'), 'SP1000'),
  vs(
    'weights that add up to 0',
    `${ROUTE}\n            port:\n              number: 80\n          weight: 100`,
    '      ▸route:\n        - destination: { host: www.aliyun.com, port: { number: 80 } }\n          weight: 0\n        - destination: { host: www.aliyun.com, port: { number: 443 } }\n          weight: 0',
    'SP4000',
  ),
  rule('a timeout without a unit', 'timeout: ▸"3"', 'SP1000'),
  rule('a timeout that is a number', 'timeout: ▸3', 'SP1000'),
  rule('a negative timeout', 'timeout: ▸-1s', 'SP1000'),
  rule(
    'a condition for retries that does not exist',
    'retries: { attempts: 2, retryOn: ▸"5xx,conect-failure" }',
    'SP4048',
  ),
  rule('retries turned off and configured', '▸retries: { attempts: 0, retryOn: 5xx }', 'SP4000'),
  rule('a negative number of retries', 'retries: { attempts: ▸-1 }', 'SP1000'),
  rule('a try shorter than a millisecond', 'retries: { attempts: 1, perTryTimeout: ▸1us }', 'SP4000'),
  rule('a share of delays above 100', 'fault: { delay: { fixedDelay: 1s, percentage: { value: ▸101 } } }', 'SP1000'),
  rule('a delay without a time', 'fault: { ▸delay: { percentage: { value: 1 } } }', 'SP4000'),
  rule('a delay of 0', 'fault: { delay: { fixedDelay: ▸0s } }', 'SP4000'),
  rule('an abort without a status', 'fault: { ▸abort: { percentage: { value: 1 } } }', 'SP4000'),
  rule('an abort with two statuses', 'fault: { ▸abort: { httpStatus: 503, grpcStatus: UNAVAILABLE } }', 'SP4000'),
  rule('an abort with a gRPC status that does not exist', 'fault: { abort: { grpcStatus: ▸NOT_THERE } }', 'SP4000'),
  rule('an abort with HTTP status 99', 'fault: { abort: { httpStatus: ▸99 } }', 'SP1000'),
  rule('a fault of nothing', '▸fault: {}', 'SP4000'),
  rule(
    'a share of copies above 100',
    'mirror: { host: www.aliyun.com }\n      mirrorPercentage: { value: ▸200 }',
    'SP1000',
  ),
  rule(
    'mirror and mirrors',
    'mirror: { host: www.aliyun.com }\n      ▸mirrors: [{ destination: { host: www.aliyun.com } }]',
    'SP4000',
  ),
  rule('an origin expression that is none', 'corsPolicy: { allowOrigins: [▸{ regex: "(" }] }', 'SP4023'),
  rule('a CORS method that is none', 'corsPolicy: { allowMethods: [▸FETCH] }', 'SP4000'),
  rule('a CORS header that is none', 'corsPolicy: { allowHeaders: [▸"x y"] }', 'SP4000'),
  rule('a rewritten path without a slash', 'rewrite: { uri: ▸status }', 'SP4000'),
  rule('a rewritten path with dot segments', 'rewrite: { uri: ▸/a/../b }', 'SP4000'),
  rule('a rewrite of nothing', '▸rewrite: {}', 'SP4000'),
  rule('two rewrites of the path', '▸rewrite: { uri: /a, uriRegexRewrite: { match: a, rewrite: b } }', 'SP4000'),
  rule(
    'a rewrite to a group that does not exist',
    'rewrite: { ▸uriRegexRewrite: { match: /a, rewrite: "\\\\1" } }',
    'SP4023',
  ),
  action('a redirect that changes nothing', '▸redirect: {}', 'SP4000'),
  action('a redirect with status 200', 'redirect: { uri: /x, redirectCode: ▸200 }', 'SP4000'),
  action('a redirect to another protocol', 'redirect: { scheme: ▸ftp }', 'SP4000'),
  action('an answer with status 99', 'directResponse: { status: ▸99 }', 'SP1000'),
  action('an answer with two bodies', 'directResponse: { status: 200, ▸body: { string: a, bytes: YQ== } }', 'SP4000'),
  action('an answer that is not base64', 'directResponse: { status: 200, body: { bytes: ▸"?" } }', 'SP4000'),
  action('a delegate that is not there', '▸delegate: { name: shop }', 'SP4045', 'warning'),
  rule('a header name with a blank', 'headers: { request: { set: { "x y": ▸a } } }', 'SP4024'),
  rule('a header that frames the message', 'headers: { request: { remove: [▸content-length] } }', 'SP4024'),
  rule('a header with a line break', 'headers: { response: { add: { x-a: ▸"a\\r\\nb" } } }', 'SP4024'),
  rule('a command operator that does not exist', 'headers: { request: { set: { x-a: ▸"%CALLER%" } } }', 'SP4044'),
  // Matches
  match('an expression that is none', '▸uri: { regex: "/a(" }', 'SP4023'),
  match('an expression with a look-ahead', '▸uri: { regex: "(?=/a).*" }', 'SP4023'),
  match('a match on the path with two kinds', '▸uri: { exact: /a, prefix: /b }', 'SP4000'),
  match('a match on the path with no kind', '▸uri: {}', 'SP4000'),
  match('a path that is text', 'uri: ▸/a', 'SP1000'),
  match('an empty prefix', '▸uri: { prefix: "" }', 'SP4000'),
  match('a header without a value', 'headers: { ▸x-a: null }', 'SP4000'),
  match('a header name with a blank', 'headers: { ▸"x y": { exact: a } }', 'SP4000'),
  match('a header that is a part of the request line', 'headers: { ▸method: { exact: GET } }', 'SP4011', 'warning'),
  match('an authority in capitals', '▸authority: { exact: WWW.aliyun.com }', 'SP4030', 'warning'),
  match('a namespace that is none', 'sourceNamespace: ▸Demo', 'SP4000'),
  vs(
    'a match without a value',
    '    - match:\n        - gateways:\n            - istio-system/istio-egressgateway\n          port: 80\n',
    '    - ▸match:\n',
    'SP1032',
  ),
  vs(
    'a match that is a map',
    '    - match:\n        - gateways:\n            - istio-system/istio-egressgateway',
    '    - ▸match:\n          gateways:\n            - istio-system/istio-egressgateway',
    'SP1000',
  ),
  vs(
    'a rule that is never reached',
    '          port: 80\n      route:\n        - destination:\n            host: www.aliyun.com\n            port:\n              number: 80\n          weight: 100',
    '          port: 80\n      route: [{ destination: { host: www.aliyun.com } }]\n    - route: [{ destination: { host: www.aliyun.com } }]\n    - ▸route: [{ destination: { host: www.aliyun.com } }]',
    'SP4022',
    'warning',
  ),
  match('a label that is none', 'sourceLabels: { "a b": ▸c }', 'SP4000'),
  match('an empty expression', '▸uri: { regex: "" }', 'SP4023'),
  match('an expression of 1,100 characters', `▸uri: { regex: "${'a'.repeat(1100)}" }`, 'SP4023'),
  match('a part of the request line that does not exist', 'headers: { ▸":host": { exact: a } }', 'SP4000'),
  vs(
    'a prefix below that of an earlier rule',
    RULE,
    `    - match: [{ uri: { prefix: /a } }]\n      route: [{ destination: { host: www.aliyun.com } }]\n    - match:\n        - ▸uri: { prefix: /a/b }\n          port: 80\n      route:\n        - destination:`,
    'SP4047',
    'warning',
  ),
  vs(
    'the old name of a Gateway',
    '    - istio-system/istio-egressgateway\n  hosts:',
    '    - ▸istio-egressgateway.istio-system.svc.cluster.local\n  hosts:',
    'SP7023',
    'warning',
  ),
  vs('exportTo nobody', '  exportTo:\n    - istio-system\n    - demo-frontend', '  ▸exportTo: ["~"]', 'SP4000'),
  vs('a subset that no name is', 'host: www.aliyun.com', 'host: www.aliyun.com\n            subset: ▸v 1', 'SP4000'),
  vs(
    'a port without a number',
    'host: www.aliyun.com\n            port:\n              number: 80',
    'host: www.aliyun.com\n            ▸port: {}',
    'SP4000',
  ),
  rule('a timeout below a millisecond', 'timeout: ▸500us', 'SP4000'),
  rule('a condition for retries that is empty', 'retries: { attempts: 1, retryOn: ▸"5xx,,reset" }', 'SP4048'),
  rule('a share that is none', 'fault: { abort: { httpStatus: 503, percentage: { value: ▸0.00001 } } }', 'SP4000'),
  // tls and tcp
  tls(
    'the same match twice',
    '      route:\n        - destination:\n            host: istio-egressgateway.istio-system.svc.cluster.local\n            subset: cnn\n            port:\n              number: 443',
    '      route: [{ destination: { host: a.com } }]\n    - match:\n        - ▸gateways: [mesh]\n          port: 443\n          sniHosts: [edition.cnn.com]\n      route: [{ destination: { host: a.com } }]',
    'SP4047',
    'warning',
  ),
  tls(
    'an IP address as SNI',
    '  hosts:\n    - edition.cnn.com\n  gateways:\n    - mesh\n    - istio-egressgateway\n  tls:\n    - match:\n        - gateways:\n            - mesh\n          port: 443\n          sni_hosts:\n            - edition.cnn.com',
    '  hosts:\n    - edition.cnn.com\n    - 192.0.2.1\n  gateways:\n    - mesh\n    - istio-egressgateway\n  tls:\n    - match:\n        - gateways:\n            - mesh\n          port: 443\n          sni_hosts:\n            - ▸192.0.2.1',
    'SP4030',
    'warning',
  ),
  tls(
    'an SNI that the hosts do not cover',
    '          sni_hosts:\n            - edition.cnn.com',
    '          sni_hosts:\n            - ▸www.cnn.com',
    'SP4000',
  ),
  tls(
    'a tls match without an SNI',
    '        - gateways:\n            - mesh\n          port: 443\n          sni_hosts:\n            - edition.cnn.com',
    '        - ▸gateways:\n            - mesh\n          port: 443',
    'SP1033',
  ),
  tls(
    'a tls rule without a match',
    '    - match:\n        - gateways:\n            - mesh\n          port: 443\n          sni_hosts:\n            - edition.cnn.com\n',
    '    - ▸match: []\n',
    'SP4000',
  ),
  tls('a tcp rule to a wildcard', TCP_ROUTE, TCP_ROUTE.replace('edition.cnn.com', '▸"*.cnn.com"'), 'SP4000'),
  tls(
    'a tcp rule without a route',
    `    - match:\n        - gateways:\n            - istio-egressgateway\n          port: 443\n      route:\n        - destination:\n${TCP_ROUTE}`,
    '    - ▸match:\n        - gateways:\n            - istio-egressgateway\n          port: 443',
    'SP4027',
  ),
  tls(
    'a subnet that is none',
    '            - istio-egressgateway\n          port: 443',
    '            - istio-egressgateway\n          port: 443\n          destinationSubnets: [▸10.0.0.0/40]',
    'SP4000',
  ),
  tls(
    'a misspelt kind of rules',
    '    - istio-egressgateway\n  tls:',
    '    - istio-egressgateway\n  ▸tsl:',
    'SP1030',
    'error',
  ),
]
