/**
 * Judges every address before it is dialled (contract §2 addressGuard, threats 37–42): a name that an operator allowed
 * must not become a way inside. The address judged is the address dialled; nothing resolves again after this.
 */
import { type AddressClass, classifyAddress } from '../core/address-class.ts'
import { compileIpSet } from '../core/cidr.ts'

/** `self`: one of the gateway's own listeners. `non_canonical`: not an IP address in its one canonical spelling. */
export type AddressDenial = Exclude<AddressClass, 'public'> | 'self' | 'non_canonical'

/** `static`: the operator wrote this address down. `resolved`: a resolver or a caller said so. */
export type AddressOrigin = 'static' | 'resolved'

export type AddressGuard = {
  /** null: may be dialled. Does not look for the gateway itself: listeners come and go, see `isSelf`. */
  readonly judge: (address: string, origin: AddressOrigin) => AddressDenial | null
  /** True when `address:port` is one of the gateway's own listeners: a loop, whatever is allowed. */
  readonly isSelf: (address: string, port: number) => boolean
}

/**
 * `allow`: CIDRs that may be dialled although not public. Throws RangeError on one that cannot be parsed.
 * `isSelf` must know every address of this host for listeners bound to 0.0.0.0 (forward/self.ts).
 */
export function createAddressGuard(
  allow: readonly string[],
  isSelf: (address: string, port: number) => boolean,
): AddressGuard {
  const allowed = compileIpSet(allow)
  const judge = (text: string, origin: AddressOrigin): AddressDenial | null => {
    const found = classifyAddress(text)
    if (found === null) return 'non_canonical'
    if (found.class === 'public') return null
    // An IPv4 address inside an IPv6 one is reached either way, so allowing the outer range (64:ff9b::/96 in a NAT64
    // network) must not open what the inner one stands for: both have to be allowed or public.
    const outer = allowed.hasAddress(found.address)
    const inner = found.embedded === null || found.class === 'embedded' || allowed.hasAddress(found.embedded)
    if (outer && inner) return null
    // STATIC endpoints are the operator's own words; only credentials of the machine need a second one (contract §4).
    if (origin === 'static' && found.class !== 'metadata') return null
    return found.class
  }
  return { judge, isSelf }
}
