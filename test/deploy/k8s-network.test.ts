/** The NetworkPolicies: who may reach the gateway, what it may reach, and that nothing that it calls private is among that. */
import assert from 'node:assert/strict'
import path from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { classifyAddress } from '../../src/core/address-class.ts'
import { type Cidr, cidrContains, parseCidr, parseIp } from '../../src/core/cidr.ts'
import { INSTALLABLE, installation, NAME, portOf, ROOT, type Selector, selects } from './installation.ts'
import { readManifests, render } from './kustomize.ts'

type Port = { readonly protocol: string; readonly port: string | number }
type Block = { readonly cidr: string; readonly except: readonly string[] }
type Peer = { readonly ipBlock?: Block; readonly namespaceSelector?: object; readonly podSelector?: Selector }
type Policy = {
  readonly podSelector: object
  readonly policyTypes: readonly string[]
  readonly ingress?: readonly { readonly from?: readonly Peer[]; readonly ports?: readonly Port[] }[]
  readonly egress?: readonly { readonly to?: readonly Peer[]; readonly ports?: readonly Port[] }[]
}

const installed = installation('overlays/istio-agent')
const policy = installed.spec<Policy>('NetworkPolicy')
const ports = (list: readonly Port[] = []) => list.map(({ port }) => portOf(installed, port)).toSorted((a, b) => a - b)
const inNamespace = (name: string) => ({ matchLabels: { 'kubernetes.io/metadata.name': name } })

const mesh = [8080, 8443, 8444]
const DNS: readonly Port[] = [
  { protocol: 'UDP', port: 53 },
  { protocol: 'TCP', port: 53 },
]

test('every installation restricts the gateway in the same way', () => {
  for (const dir of INSTALLABLE) assert.deepEqual(installation(dir).spec<Policy>('NetworkPolicy'), policy)
})

describe('the gateway', () => {
  test('is restricted in both directions, and no rule is open to everybody', () => {
    assert.deepEqual(policy.policyTypes, ['Ingress', 'Egress'])
    for (const { from, ports: list } of policy.ingress ?? [])
      assert.ok((from?.length ?? 0) > 0 && (list?.length ?? 0) > 0)
    for (const { to, ports: list } of policy.egress ?? []) assert.ok((to?.length ?? 0) > 0 && (list?.length ?? 0) > 0)
  })

  test('is called by the mesh on its listeners and by Prometheus on the metrics port; nobody calls the admin port', () => {
    assert.deepEqual(
      policy.ingress?.map((rule) => ports(rule.ports)),
      [mesh, [15090]],
    )
  })

  const blocks = (policy.egress ?? []).flatMap(({ to = [] }) => to.flatMap(({ ipBlock }) => ipBlock ?? []))
  const parsed = blocks.map(({ cidr, except }) => ({ cidr: range(cidr), except: except.map(range) }))
  const allowed = (text: string) => {
    const address = parseIp(text)
    assert.ok(address !== null, text)
    return parsed.some(
      ({ cidr, except }) => cidrContains(cidr, address) && !except.some((each) => cidrContains(each, address)),
    )
  }

  test('reaches public addresses of both families', () => {
    for (const address of ['1.1.1.1', '151.101.65.67', '223.5.5.5', '2a04:4e42::323', '2606:4700::1111'])
      assert.equal(allowed(address), true, address)
  })

  test('reaches no metadata service and no private address', () => {
    for (const address of [
      '169.254.169.254',
      '100.100.100.200',
      '168.63.129.16',
      '192.0.0.192',
      '10.0.0.1',
      '127.0.0.1',
    ])
      assert.equal(allowed(address), false, address)
    for (const address of ['fd00:ec2::254', '::1', '::ffff:10.0.0.1', '64:ff9b::a00:1', '2002:a00:1::', 'fe80::1'])
      assert.equal(allowed(address), false, address)
  })

  const octet = fc.oneof(fc.nat(255), fc.constantFrom(0, 10, 100, 127, 168, 169, 172, 192, 198, 203, 224, 240, 255))
  const ipv4 = fc.tuple(octet, octet, octet, octet).map((parts) => parts.join('.'))
  const word = fc.oneof(fc.nat(0xffff), fc.constantFrom(0x2001, 0x2002, 0x3fff, 0xdb8, 0x64, 0xff9b, 0xfc00, 0xfe80, 0))
  const ipv6 = fc
    .tuple(word, word, word, word, word, word, word, word)
    .map((words) => words.map((each) => each.toString(16)).join(':'))

  test('reaches exactly what its own address guard calls public (property)', () => {
    fc.assert(
      fc.property(fc.oneof(ipv4, ipv6), (address) => {
        assert.equal(allowed(address), classifyAddress(address)?.class === 'public')
      }),
      { numRuns: 5000 },
    )
  })

  test('asks DNS of the cluster; with the agent, istiod; nothing else inside', () => {
    const inside = (rules: Policy['egress'] = []) =>
      rules.filter(({ to }) => to?.every((peer) => peer.ipBlock === undefined))
    assert.deepEqual(
      inside(policy.egress).map((rule) => rule.ports),
      [DNS],
    )
    const toIstiod = installed.spec<Policy>('NetworkPolicy', `${NAME}-to-istiod`)
    assert.deepEqual(
      toIstiod.egress?.map(({ to, ports: list }) => [to?.[0]?.namespaceSelector, ports(list)]),
      [[inNamespace('istio-system'), [15012]]],
    )
    const address = installed.agent?.env?.find(({ name }) => name === 'CA_ADDR')?.value
    assert.equal(address, 'istiod.istio-system.svc:15012')
  })
})

describe('the callers’ namespaces', () => {
  const [manifest] = render(path.join(ROOT, 'k8s/app-namespace'))
  const apps = manifest?.['spec'] as Policy

  test('every pod is restricted, and reaches DNS, istiod and the gateway only', () => {
    assert.deepEqual(apps.podSelector, {})
    assert.deepEqual(apps.policyTypes, ['Egress'])
    assert.deepEqual(
      apps.egress?.map(({ to, ports: list }) => [
        to?.map((peer) => peer.namespaceSelector),
        list?.map(({ port }) => port),
      ]),
      [
        [[inNamespace('kube-system')], [53, 53]],
        [[inNamespace('istio-system')], [15012]],
        [[inNamespace('istio-egress')], mesh],
      ],
    )
    for (const { to = [] } of apps.egress ?? [])
      for (const peer of to) assert.ok(peer.ipBlock === undefined && peer.podSelector !== undefined)
    const gateway = apps.egress?.at(-1)?.to?.[0]?.podSelector
    assert.ok(gateway !== undefined && selects(gateway, installed.podLabels))
  })

  test('the wide example is of the cluster still', () => {
    const [wide] = readManifests(path.join(ROOT, 'k8s/app-namespace/in-cluster-traffic.yaml'))
    assert.deepEqual((wide?.['spec'] as Policy | undefined)?.egress, [{ to: [{ namespaceSelector: {} }] }])
  })
})

function range(text: string): Cidr {
  const cidr = parseCidr(text)
  assert.ok(cidr !== null, text)
  return cidr
}
