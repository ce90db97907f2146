/**
 * What kind of network an IP address belongs to, after the IANA special-purpose registries (RFC 6890 and successors).
 * Everything that is not plainly public has a name here, and the name is what a refusal shows (`address_denied{class}`).
 */
import { type Cidr, cidrContains, type IpAddress, parseCidr, parseIp } from './cidr.ts'

export type AddressClass =
  | 'public'
  | 'loopback'
  | 'unspecified'
  | 'private'
  | 'link_local'
  | 'metadata'
  | 'cgnat'
  | 'multicast'
  | 'reserved'
  | 'documentation'
  | 'benchmark'
  | 'unique_local'
  | 'embedded'

export type ClassifiedAddress = {
  /** Of an IPv6 address that carries a non-public IPv4 one: the class of the carried one. */
  readonly class: AddressClass
  readonly address: IpAddress
  /** The IPv4 address inside an IPv6 one (mapped, NAT64, 6to4, Teredo …), where its bits can be known. */
  readonly embedded: IpAddress | null
}

/** First match wins, so exceptions stand before their range. */
const CLASSES: readonly (readonly [range: string, name: AddressClass])[] = [
  // Instance metadata: credentials for whoever can connect. AWS, GCP, Azure and OpenStack; ECS; EKS pod identity;
  // Alibaba Cloud; Azure's wire server; Oracle Cloud.
  ['169.254.169.254/32', 'metadata'],
  ['169.254.170.2/32', 'metadata'],
  ['169.254.170.23/32', 'metadata'],
  ['100.100.100.200/32', 'metadata'],
  ['168.63.129.16/32', 'metadata'],
  ['192.0.0.192/32', 'metadata'],
  ['fd00:ec2::254/128', 'metadata'],
  ['fd00:ec2::23/128', 'metadata'],
  ['fd20:ce::254/128', 'metadata'],
  ['fe80::a9fe:a9fe/128', 'metadata'],
  // IPv4 (IANA IPv4 special-purpose registry).
  ['0.0.0.0/8', 'unspecified'],
  ['10.0.0.0/8', 'private'],
  ['100.64.0.0/10', 'cgnat'],
  ['127.0.0.0/8', 'loopback'],
  ['169.254.0.0/16', 'link_local'],
  ['172.16.0.0/12', 'private'],
  ['192.0.0.0/24', 'reserved'],
  ['192.0.2.0/24', 'documentation'],
  ['192.88.99.0/24', 'reserved'],
  ['192.168.0.0/16', 'private'],
  ['198.18.0.0/15', 'benchmark'],
  ['198.51.100.0/24', 'documentation'],
  ['203.0.113.0/24', 'documentation'],
  ['224.0.0.0/4', 'multicast'],
  ['240.0.0.0/4', 'reserved'],
  ['0.0.0.0/0', 'public'],
  // IPv6: only 2000::/3 is global unicast; what follows it is what it excludes.
  ['::/128', 'unspecified'],
  ['::1/128', 'loopback'],
  ['fc00::/7', 'unique_local'],
  ['fe80::/10', 'link_local'],
  ['fec0::/10', 'private'],
  ['ff00::/8', 'multicast'],
  ['2001:2::/48', 'benchmark'],
  ['2001:db8::/32', 'documentation'],
  ['3fff::/20', 'documentation'],
  ['2001::/23', 'reserved'],
  ['2000::/3', 'public'],
  ['::/0', 'reserved'],
]

const RANGES = CLASSES.map(([range, name]) => ({ range: cidr(range), name }))

/** Where IPv6 ranges keep an IPv4 address. `::ffff:0:0/96` (mapped) is recognised by its spelling instead. */
const EMBEDDINGS: readonly { readonly range: Cidr; readonly extract: (words: readonly number[]) => number | null }[] = [
  // IPv4-compatible (deprecated), IPv4-translated (RFC 2765), NAT64 (RFC 6052): the last 32 bits.
  { range: cidr('::/96'), extract: (words) => words[3] as number },
  { range: cidr('::ffff:0:0:0/96'), extract: (words) => words[3] as number },
  { range: cidr('64:ff9b::/96'), extract: (words) => words[3] as number },
  // Local-use NAT64 (RFC 8215): where the bits are depends on the operator's prefix length.
  { range: cidr('64:ff9b:1::/48'), extract: () => null },
  // Teredo (RFC 4380 §4): the client's address, every bit inverted.
  { range: cidr('2001::/32'), extract: (words) => ~(words[3] as number) >>> 0 },
  // 6to4 (RFC 3056 §2): bits 16–47.
  {
    range: cidr('2002::/16'),
    extract: (words) => (((words[0] as number) << 16) | ((words[1] as number) >>> 16)) >>> 0,
  },
]

/**
 * Classifies an IP literal as `node:net` spells it; null when it is none. A zone identifier makes it none: an address
 * that only means something on one interface is not a destination for a gateway.
 */
export function classifyAddress(text: string): ClassifiedAddress | null {
  if (text.includes('%')) return null
  const address = parseIp(text)
  if (address === null) return null
  if (address.version === 4) {
    const name = classOf(address)
    if (!text.includes(':')) return { class: name, address, embedded: null }
    // `::ffff:a.b.c.d`: the kernel would dial the IPv4 address, so no DNS answer has a reason to say it like this.
    return { class: name === 'public' ? 'embedded' : name, address, embedded: address }
  }
  const own = classOf(address)
  if (own === 'unspecified' || own === 'loopback' || own === 'metadata') return { class: own, address, embedded: null }
  for (const { range, extract } of EMBEDDINGS) {
    if (!cidrContains(range, address)) continue
    const word = extract(address.words)
    if (word === null) return { class: 'embedded', address, embedded: null }
    const embedded: IpAddress = { version: 4, words: [word] }
    const inner = classOf(embedded)
    return { class: inner === 'public' ? 'embedded' : inner, address, embedded }
  }
  return { class: own, address, embedded: null }
}

function classOf(address: IpAddress): AddressClass {
  for (const { range, name } of RANGES) if (cidrContains(range, address)) return name
  return 'reserved'
}

function cidr(text: string): Cidr {
  const range = parseCidr(text)
  if (range === null) throw new RangeError(`bad range in the address table: ${text}`)
  return range
}
