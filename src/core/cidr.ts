/**
 * IP addresses and CIDR ranges, parsed strictly once and compared as 32-bit words. An IPv4 address mapped into IPv6
 * (`::ffff:10.0.0.1`) *is* that IPv4 address here: a dual-stack socket must not look different to policy.
 */
import { isIPv4, isIPv6 } from 'node:net'

/** One 32-bit word for IPv4, four for IPv6, most significant first. */
export type IpAddress = { readonly version: 4 | 6; readonly words: readonly number[] }

/** `words` are masked: host bits are zero. */
export type Cidr = { readonly version: 4 | 6; readonly words: readonly number[]; readonly prefix: number }

export type IpSet = {
  /** False when `address` is no IP address. A zone identifier (`%eth0`) is ignored. */
  readonly has: (address: string) => boolean
  readonly hasAddress: (address: IpAddress) => boolean
}

/** An IP literal as `node:net` spells it (no ports, no brackets, no leading zeros); null when it is none. */
export function parseIp(text: string): IpAddress | null {
  if (isIPv4(text)) return { version: 4, words: [v4Word(text)] }
  if (!text.includes(':')) return null
  const zone = text.indexOf('%')
  const bare = zone < 0 ? text : text.slice(0, zone)
  if (!isIPv6(bare)) return null
  const words = v6Words(bare)
  const mapped = words[0] === 0 && words[1] === 0 && words[2] === 0xffff
  return mapped ? { version: 4, words: [words[3] as number] } : { version: 6, words }
}

/**
 * `10.0.0.0/8`, `fd00::/8` or a bare address (a range of one). Host bits may be set and are masked off, as Envoy's
 * CidrRange does. A mapped range (`::ffff:10.0.0.0/104`) is the IPv4 range. null: junk, a zone, a port, a bad prefix.
 */
export function parseCidr(text: string): Cidr | null {
  if (text.includes('%')) return null
  const slash = text.indexOf('/')
  const host = slash < 0 ? text : text.slice(0, slash)
  const address = parseIp(host)
  if (address === null) return null
  const written = host.includes(':') ? 6 : 4
  const width = written === 4 ? 32 : 128
  if (slash < 0) return { version: address.version, words: address.words, prefix: address.version === 4 ? 32 : 128 }
  const digits = text.slice(slash + 1)
  if (!/^(?:0|[1-9][0-9]{0,2})$/.test(digits)) return null
  const prefix = Number(digits)
  if (prefix > width) return null
  if (address.version === written) return { version: written, words: mask(address.words, prefix), prefix }
  if (prefix >= 96) return { version: 4, words: mask(address.words, prefix - 96), prefix: prefix - 96 }
  // Wider than the mapped block: an IPv6 range proper, which no IPv4 caller is in.
  return { version: 6, words: mask([0, 0, 0xffff, address.words[0] as number], prefix), prefix }
}

/** Whether `address` lies in `range`; families never mix. */
export function cidrContains(range: Cidr, address: IpAddress): boolean {
  if (range.version !== address.version) return false
  let left = range.prefix
  for (let i = 0; left > 0; i++, left -= 32) {
    const bits = left >= 32 ? 0xffffffff : maskWord(left)
    if (((address.words[i] as number) & bits) >>> 0 !== range.words[i]) return false
  }
  return true
}

/** A matcher over CIDRs. Throws RangeError on a value that `parseCidr` refuses: check beforehand. */
export function compileIpSet(values: readonly string[]): IpSet {
  const ranges = values.map((value) => {
    const range = parseCidr(value)
    if (range === null) throw new RangeError(`not an IP address or CIDR range: ${JSON.stringify(value)}`)
    return range
  })
  const hasAddress = (address: IpAddress): boolean => {
    for (const range of ranges) if (cidrContains(range, address)) return true
    return false
  }
  const has = (text: string): boolean => {
    const address = parseIp(text)
    return address !== null && hasAddress(address)
  }
  return { has, hasAddress }
}

function v4Word(text: string): number {
  let word = 0
  for (const part of text.split('.')) word = word * 256 + Number(part)
  return word
}

/** Of a text `isIPv6` has accepted, without zone. */
function v6Words(text: string): number[] {
  const lastColon = text.lastIndexOf(':')
  let source = text
  if (text.includes('.', lastColon)) {
    const tail = v4Word(text.slice(lastColon + 1))
    source = `${text.slice(0, lastColon + 1)}${(tail >>> 16).toString(16)}:${(tail & 0xffff).toString(16)}`
  }
  const gap = source.indexOf('::')
  const head = gap < 0 ? source.split(':') : source.slice(0, gap).split(':').filter(Boolean)
  const tail =
    gap < 0
      ? []
      : source
          .slice(gap + 2)
          .split(':')
          .filter(Boolean)
  const groups = [...head, ...Array.from({ length: 8 - head.length - tail.length }, () => '0'), ...tail]
  const words: number[] = []
  for (let i = 0; i < 8; i += 2)
    words.push(Number.parseInt(groups[i] as string, 16) * 0x10000 + Number.parseInt(groups[i + 1] as string, 16))
  return words
}

/** The top `bits` (1–31) of a word. */
function maskWord(bits: number): number {
  return (0xffffffff << (32 - bits)) >>> 0
}

function mask(words: readonly number[], prefix: number): number[] {
  return words.map((word, i) => {
    const bits = prefix - i * 32
    if (bits >= 32) return word
    return bits <= 0 ? 0 : (word & maskWord(bits)) >>> 0
  })
}
