/** TABLE of mistakes in AuthorizationPolicies, RequestAuthentications, ASMEgressTrafficPolicies and our own kinds. */
import type { Broken } from './edit.ts'

type Says = readonly [code: Broken[6], severity?: Broken[5]]

/** An edit of walk-through 001's policy. */
function ap(mistake: string, from: string, to: string, ...[code, severity = 'error']: Says): Broken {
  return [mistake, 'seed-001', 'authorization-policy.yaml', from, to, severity, code]
}

const NAMESPACES = '            namespaces: ["demo-frontend"]'
const source = (mistake: string, line: string, ...says: Says) => ap(mistake, NAMESPACES, `            ${line}`, ...says)

/** A rule of its own behind the one of the page. */
const rule = (mistake: string, lines: string, ...says: Says) =>
  ap(mistake, NAMESPACES, `${NAMESPACES}\n    - ${lines}`, ...says)
const operation = (mistake: string, block: string, ...says: Says) =>
  rule(mistake, `to: [{ operation: ${block} }]`, ...says)
const when = (mistake: string, block: string, ...says: Says) => rule(mistake, `when: [${block}]`, ...says)

/** An edit of walk-through 000's egress policy. */
function asm(mistake: string, from: string, to: string, ...[code, severity = 'error']: Says): Broken {
  return [mistake, 'seed-000-upgrade', 'egress-by-egressgateway-https-upgrade.yaml', from, to, severity, code]
}

const SELECTS = '  selector:\n    matchLabels:\n      istio: egressgateway\n'
const JWT = `---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: { name: j, namespace: istio-system }\n`
const LIMIT = `---\napiVersion: sallyport.dev/v1alpha1\nkind: EgressRateLimit\nmetadata: { name: l, namespace: istio-system }\n`
const behind = (mistake: string, text: string, ...says: Says) =>
  ap(mistake, NAMESPACES, `${NAMESPACES}\n${text}`, ...says)
const limit = (mistake: string, limits: string, ...says: Says) =>
  behind(mistake, `${LIMIT}spec:\n  limits: [${limits.replaceAll('◦', 'requests: { count: 1, per: hour }')}]`, ...says)

export const BROKEN_POLICIES: readonly Broken[] = [
  ap('an action that is none', 'action: DENY', 'action: ▸DENIED', 'SP1000'),
  ap(
    'a CUSTOM policy that asks who the caller is',
    `  action: DENY\n  rules:\n    - from:\n        - source:\n${NAMESPACES}`,
    `  action: CUSTOM\n  provider: { name: ext }\n  rules:\n    - from:\n        - source:\n            ▸${NAMESPACES.trimStart()}`,
    'SP8306',
  ),
  ap('a provider without CUSTOM', '  action: DENY', '  action: DENY\n  ▸provider: { name: ext }', 'SP5008'),
  ap('DENY without rules', `  rules:\n    - from:\n        - source:\n${NAMESPACES}`, '  ▸rules: []', 'SP5002'),
  ap(
    'rules without a value',
    `spec:\n${SELECTS}  action: DENY\n  rules:\n    - from:\n        - source:\n${NAMESPACES}`,
    `▹spec:\n${SELECTS}  action: DENY\n  ▸rules:`,
    'SP1032',
  ),
  ap(
    'a misspelt field',
    '        - source:\n            namespaces:',
    '        - ▹source:\n            ▸namespace:',
    'SP1030',
  ),
  ap(
    'rules misspelt',
    `spec:\n${SELECTS}  action: DENY\n  rules:`,
    `▹spec:\n${SELECTS}  action: DENY\n  ▸rule:`,
    'SP1030',
  ),
  ap(
    'a dry run that is neither true nor false',
    '  namespace: istio-system',
    '  namespace: istio-system\n  annotations:\n    istio.io/dry-run: ▸"yes"',
    'SP5010',
  ),
  ap('from without a source', `        - source:\n${NAMESPACES}`, '        - ▸{}', 'SP5001'),
  ap('an empty from', `    - from:\n        - source:\n${NAMESPACES}`, '    - ▸from: []', 'SP5001'),
  ap('a selector with a star', 'istio: egressgateway', 'istio: ▸"*"', 'SP5009'),
  ap(
    'a selector and a target',
    SELECTS,
    `  ▸${SELECTS.trimStart()}  targetRef: { group: gateway.networking.k8s.io, kind: Gateway, name: g }\n`,
    'SP5009',
  ),
  ap('a target that is none', SELECTS, '  targetRefs: [▸{ kind: Deployment, name: sleep }]\n', 'SP5009'),
  ap(
    'a policy in the callers’ namespace',
    '  namespace: istio-system',
    '  namespace: ▸demo-frontend',
    'SP5028',
    'info',
  ),
  source('an empty name', 'namespaces: [▸""]', 'SP5000'),
  source('a principal with its scheme', '▸principals: ["spiffe://cluster.local/ns/a/sa/b"]', 'SP5020', 'warning'),
  source('an address that is none', 'ipBlocks: [▸10.0.0]', 'SP5005'),
  source('a CIDR with too many bits', 'notIpBlocks: [▸10.0.0.0/33]', 'SP5005'),
  source('a service account with a star', 'serviceAccounts: [▸"demo-frontend/*"]', 'SP5007'),
  ap(
    'a service account and a namespace',
    `        - source:\n${NAMESPACES}`,
    `        - ▸source:\n            serviceAccounts: [sleep]\n${NAMESPACES}`,
    'SP5007',
  ),
  source('claims of a token that nobody verifies', '▸requestPrincipals: ["*"]', 'SP8202', 'warning'),
  source('an empty list beside another', 'namespaces: [a]\n            ▸principals: []', 'SP5025', 'warning'),
  ap('an empty list', `        - source:\n${NAMESPACES}`, '        - ▸source: { namespaces: [] }', 'SP5001'),
  operation('a port that is a name', '{ ports: [▸http] }', 'SP5006'),
  operation('a port that is a number', '{ ports: [▸80] }', 'SP1000'),
  operation('a Gateway’s port', '{ ▸ports: ["80"] }', 'SP5021', 'warning'),
  operation('a path template that is none', '{ paths: [▸"/{id}/x"] }', 'SP5004'),
  operation('a method that does not exist', '{ ▸methods: [get] }', 'SP5026', 'error'),
  rule('an empty operation', 'to: [{ ▸operation: {} }]', 'SP5001'),
  when('a key that does not exist', '{ key: ▸source.name, values: [a] }', 'SP5003'),
  when('a key without its bracket', '{ key: ▸request.headers, values: [a] }', 'SP5003'),
  when('a condition without values', '▸{ key: source.namespace }', 'SP5001'),
  when('an address that is none', '{ key: source.ip, values: [▸localhost] }', 'SP5005'),
  when('a port above 65535', '{ key: destination.port, notValues: [▸"65536"] }', 'SP5006'),
  when('a key of Envoy', '▸{ key: "experimental.envoy.filters.a[b]", values: [c] }', 'SP5013', 'warning'),
  behind(
    'keys of a token that come from no web server',
    `${JWT}spec: { jwtRules: [{ issuer: a, jwksUri: ▸"ftp://a/jwks" }] }`,
    'SP8200',
  ),
  behind('keys of a token that are none', `${JWT}spec: { jwtRules: [{ issuer: a, jwks: ▸"{}" }] }`, 'SP8201'),
  behind(
    'a misspelt field of a rule for tokens',
    `${JWT}spec: { jwtRules: [{ issuer: "https://a", ▸jwksUrl: "https://a/jwks" }] }`,
    'SP1030',
  ),
  limit('a limit that is misspelt', '{ name: a, key: [], ◦, ▸form: [{ namespaces: [a] }] }', 'SP1030'),
  limit('a limit of a name that exists', '{ name: a, key: [], ◦ }, { name: ▸a, key: [], ◦ }', 'SP8000'),
  limit('a limit that counts nothing', '{ name: ▸a, key: [] }', 'SP8001'),
  limit('a limit that counts two things', '{ name: a, key: [], ◦, ▸tunnels: { count: 1 } }', 'SP8001'),
  limit('a local limit that speaks of outages', '{ name: a, key: [], ◦, onStoreFailure: ▸open }', 'SP8002'),
  limit('a limit for an empty list of callers', '{ name: a, key: [], ◦, from: [{ ▸principals: [] }] }', 'SP8003'),
  limit('a limit by principal of callers that have none', '{ name: a, key: [▸principal], ◦ }', 'SP8004'),
  limit(
    'a limit by namespace of principals',
    '{ name: a, key: [▸namespace], ◦, from: [{ principals: ["*"] }] }',
    'SP8004',
  ),
  limit('a global limit without Redis', '{ name: a, key: [], ◦, scope: ▸global, onStoreFailure: open }', 'SP8005'),
  limit('a local budget without a directory', '{ name: a, key: [], ▸budget: { requests: 1, per: day } }', 'SP8006'),
  // ASMEgressTrafficPolicy
  asm('a misspelt field', '          httpsUpgrade:', '          ▸httpsUpgarde:', 'SP1030'),
  asm(
    'no gateway port',
    '        - name: httpbin-service-http',
    '        - ▸hosts: [a.com]\n          port: { number: 80, protocol: HTTP }\n        - name: httpbin-service-http',
    'SP6002',
  ),
  asm('a namespace with a star', 'namespace: mytest', 'namespace: ▸"*"', 'SP6000'),
  asm(
    'a workloadSelector without labels',
    '          workloadSelector:\n            app: sleep-a',
    '          ▸workloadSelector: {}',
    'SP6000',
  ),
  asm(
    'labels that no workload has',
    'workloadSelector:\n            app: sleep-a',
    '▸workloadSelector:\n            app: sleep-b',
    'SP6006',
    'warning',
  ),
  asm('a host with a star in the middle', '- httpbin.org', '- ▸http*.org', 'SP6000'),
  asm('a protocol that is none', 'protocol: HTTP', 'protocol: ▸HTP', 'SP6000'),
  asm('a protocol without host names', 'protocol: HTTP', 'protocol: ▸TCP', 'SP6011'),
  asm(
    'no from',
    '    - from:\n        - namespace: mytest\n          workloadSelector:\n            app: sleep-a\n      to:',
    '    - ▸to:',
    'SP1033',
  ),
  asm(
    'another gateway',
    'name: egressgateway\n  egressRules',
    'name: ▸egressgateway-2\n  egressRules',
    'SP6001',
    'info',
  ),
]
