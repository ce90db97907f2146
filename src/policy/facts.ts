/** The attributes of one request or tunnel as conditions read them: what is derived is derived once per decision. */
import type { Attributes, Authority, HttpAttributes, Peer } from '../core/attributes.ts'
import { type IpAddress, parseIp } from '../core/cidr.ts'

/** What condition matchers take. Make one per decision with `factsOf`. */
export class Facts {
  readonly attributes: Attributes
  #hostForms: readonly string[] | null = null
  #ipText: string | null = null
  #ip: IpAddress | null = null

  constructor(attributes: Attributes) {
    this.attributes = attributes
  }

  /** The parsed address; the last one is remembered, since source and remote address are mostly the same. */
  ip(text: string): IpAddress | null {
    if (text !== this.#ipText) {
      this.#ip = parseIp(text)
      this.#ipText = text
    }
    return this.#ip
  }

  /**
   * Every spelling under which this request can be meant: as received, without port, and with the ports that routing
   * (which ignores the authority's port) would take it to. What a refusal by host compares.
   */
  hostForms(http: HttpAttributes): readonly string[] {
    if (this.#hostForms === null) {
      const bare = bareHost(http.authority)
      this.#hostForms = [
        http.authority.text,
        bare,
        `${bare}:${this.attributes.gatewayPort}`,
        `${bare}:${defaultPort(http)}`,
      ]
    }
    return this.#hostForms
  }
}

/** The host as it stands in an authority without port: IPv6 in brackets. */
export function bareHost(authority: Authority): string {
  return authority.isIp && authority.host.includes(':') ? `[${authority.host}]` : authority.host
}

/** The port that an authority without port means. */
export function defaultPort(http: HttpAttributes): 80 | 443 {
  return http.scheme === 'https' ? 443 : 80
}

/**
 * The names that Envoy would hold a certificate to (rbac/matchers.cc): URI SANs, else DNS SANs, else the subject.
 * Only refusals use this list: without a verified SPIFFE ID a caller has no identity (contract §4), whatever it claims.
 */
export function claimedNames(peer: Peer): readonly string[] {
  switch (peer.kind) {
    case 'none':
      return []
    case 'spiffe':
      return [peer.id.uri]
    case 'certificate': {
      const { uriSans, dnsSans, subject } = peer.certificate
      if (uriSans.length > 0) return uriSans
      return dnsSans.length > 0 ? dnsSans : [subject]
    }
  }
}
