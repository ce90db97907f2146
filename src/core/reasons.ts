/** TABLE of reason codes (contract §11): why the gateway itself refused. Docs and tests read it. */
export const REASONS = {
  rbac_denied: 'An AuthorizationPolicy refused the request or tunnel.',
  jwt_invalid: 'A token was presented that does not verify.',
  ext_authz_denied: 'The external authorizer refused.',
  not_registered: 'No ServiceEntry, VirtualService or egress policy names this host (REGISTRY_ONLY).',
  caller_not_listed: 'An egress policy names the host, but none of its `from` entries holds this caller.',
  no_route: 'The host is registered, but no route matches this request.',
  bad_request: 'The request is malformed or ambiguous.',
  misdirected: 'The SNI of the connection and the authority of the request name different servers.',
  address_denied: 'The name resolved to an address that must not be dialled.',
  no_client_certificate: 'The server requires a client certificate and none was sent.',
  untrusted_certificate: 'The client certificate does not chain to the trust bundle.',
  expired_certificate: 'The client certificate is expired or not yet valid.',
  revoked_certificate: 'The client certificate is on the revocation list.',
  invalid_svid:
    'The client certificate is not a valid X.509-SVID (no or several URI SANs, bad SPIFFE ID, wrong key usage).',
  foreign_trust_domain: 'The SPIFFE ID belongs to a trust domain no bundle vouches for.',
  no_server_for_sni: 'No Gateway server on this port claims the SNI of the ClientHello.',
  no_sni: 'The ClientHello carries no SNI where one is needed.',
  sni_mismatch: 'Outer and inner SNI name different hosts.',
  protocol_mismatch: 'The bytes on this connection are not of the protocol the server speaks.',
  rate_limited: 'A rate limit is exhausted.',
  blocked: 'An operator blocks this caller or host.',
  policy_changed: 'A new configuration forbids this tunnel.',
  draining: 'The gateway is shutting down.',
  overload: 'The gateway is at one of its own limits.',
} as const satisfies Record<string, string>

export type Reason = keyof typeof REASONS
