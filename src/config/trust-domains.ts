/** Trust-domain aliases in policy values (behaviour §1.10; istio pilot/pkg/security/trustdomain/bundle.go). */

/** In a policy this domain is a pointer to the mesh's own, whatever that is called. */
const LOCAL_POINTER = 'cluster.local'

/**
 * Principals of the form `td/ns/N/sa/S` whose domain is the mesh's, an alias, or `cluster.local`, once per domain.
 * Every other value stays as it is: a foreign domain is not renamed, and `*` already means any.
 */
export function expandPrincipals(principals: readonly string[], domains: readonly string[]): readonly string[] {
  const expanded: string[] = []
  for (const principal of principals) {
    const [written, ...path] = principal.split('/')
    const known =
      written !== undefined &&
      path.length === 4 &&
      written !== '*' &&
      (written === LOCAL_POINTER || domains.some((domain) => overlaps(written, domain)))
    if (!known) expanded.push(principal)
    // A wildcard that covers the domain (`*-td`) already says it.
    else for (const td of domains) expanded.push(endsLike(td, written) ? principal : [td, ...path].join('/'))
  }
  return [...new Set(expanded)]
}

/** A trust domain of the mesh stands for all of them. */
export function expandTrustDomains(values: readonly string[], domains: readonly string[]): readonly string[] {
  return [...new Set(values.flatMap((value) => (domains.includes(value) ? domains : [value])))]
}

/** Equal, or one is a prefix or suffix pattern of the other. */
function overlaps(a: string, b: string): boolean {
  return a === b || b === '*' || startsLike(a, b) || startsLike(b, a) || endsLike(a, b) || endsLike(b, a)
}

function startsLike(text: string, pattern: string): boolean {
  return pattern.endsWith('*') && text.startsWith(pattern.slice(0, -1))
}

function endsLike(text: string, pattern: string): boolean {
  return pattern.startsWith('*') && text.endsWith(pattern.slice(1))
}
