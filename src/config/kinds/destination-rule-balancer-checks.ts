/** Istio's rules for `loadBalancer` (`validateLoadBalancer`, `ValidateLocalityLbSetting`). */
import type { Report, Resource } from '../resource.ts'
import type { LoadBalancerSpec, LocalityLbSpec } from './destination-rule-schema.ts'
import { checkDuration, type Wrong } from './duration-check.ts'

type Path = readonly (string | number)[]
type ConsistentHashSpec = NonNullable<LoadBalancerSpec['consistentHash']>

/** Maglev's largest table (Envoy). */
export const MAX_TABLE_SIZE = 5_000_011
/** Envoy's largest ring; a `minimumRingSize` above it is refused there. */
export const MAX_RING_SIZE = 8_388_608

export function checkLoadBalancer(
  balancer: LoadBalancerSpec,
  resource: Resource,
  path: Path,
  report: Report,
  wrongInPolicy: Wrong,
): void {
  const wrong: Wrong = (below, message, fix) => wrongInPolicy(['loadBalancer', ...below], message, fix)
  const at = (...below: Path) => resource.at(...path, 'loadBalancer', ...below)
  const { simple, consistentHash, localityLbSetting, warmup } = balancer
  if (simple !== undefined && consistentHash !== undefined) wrong([], 'simple and consistentHash exclude each other')
  if (consistentHash !== undefined) {
    checkHash(consistentHash, wrong)
    if ((consistentHash.minimumRingSize ?? 0) !== 0)
      report('SP7023', at('consistentHash', 'minimumRingSize'), 'minimumRingSize is deprecated here', {
        fix: 'write ringHash: { minimumRingSize: … }',
      })
  }
  if (localityLbSetting !== undefined)
    checkLocality(localityLbSetting, (below, message) => wrong(['localityLbSetting', ...below], message))
  if (warmup !== undefined) {
    checkDuration(warmup.duration, ['warmup', 'duration'], wrong)
    if (warmup.aggression !== undefined && warmup.aggression < 1)
      wrong(['warmup', 'aggression'], 'aggression must be 1 or more')
  }
  if (balancer.warmupDurationSecs !== undefined) {
    checkDuration(balancer.warmupDurationSecs, ['warmupDurationSecs'], wrong)
    report('SP7023', at('warmupDurationSecs'), 'warmupDurationSecs is deprecated', {
      fix: 'write warmup: { duration: … }',
    })
  }
  const slowStart = warmup !== undefined || balancer.warmupDurationSecs !== undefined
  if (slowStart && (consistentHash !== undefined || simple === 'RANDOM'))
    report('SP7024', at(), 'warm-up has no effect with RANDOM or consistentHash', {
      fix: 'use LEAST_REQUEST or ROUND_ROBIN',
    })
}

const KEYS = ['httpHeaderName', 'httpCookie', 'useSourceIp', 'httpQueryParameterName'] as const

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const COOKIE_PATH = /^[\x21-\x3a\x3c-\x7e]*$/

function checkHash(hash: ConsistentHashSpec, wrongBelow: Wrong): void {
  const wrong: Wrong = (below, message, fix) => wrongBelow(['consistentHash', ...below], message, fix)
  const given = KEYS.filter((key) => hash[key] !== undefined && hash[key] !== false && hash[key] !== '')
  if (given.length !== 1)
    wrong([], `consistentHash needs exactly one of ${KEYS.join(', ')}`, 'without a key every request goes anywhere')
  // They become a header of responses.
  if (hash.httpCookie !== undefined && !TOKEN.test(hash.httpCookie.name))
    wrong(['httpCookie', 'name'], `"${hash.httpCookie.name}" is not the name of a cookie`)
  if (!COOKIE_PATH.test(hash.httpCookie?.path ?? ''))
    wrong(['httpCookie', 'path'], 'a cookie path is visible ASCII without semicolons')
  const rings = [hash.ringHash?.minimumRingSize, hash.minimumRingSize]
  for (const size of rings)
    if (size !== undefined && size > MAX_RING_SIZE) wrong([], `a ring has ${MAX_RING_SIZE} entries or fewer`)
  if (hash.ringHash !== undefined && hash.maglev !== undefined)
    wrong(['maglev'], 'ringHash and maglev exclude each other')
  if ((hash.minimumRingSize ?? 0) !== 0 && (hash.ringHash !== undefined || hash.maglev !== undefined))
    wrong(['minimumRingSize'], 'minimumRingSize and ringHash or maglev exclude each other')
  const size = hash.maglev?.tableSize
  if (size === undefined) return
  if (size > MAX_TABLE_SIZE) wrong(['maglev', 'tableSize'], `tableSize must be ${MAX_TABLE_SIZE} or less`)
  else if (!isPrime(size)) wrong(['maglev', 'tableSize'], `tableSize ${size} is not a prime number`, 'write 65537')
}

function isPrime(n: number): boolean {
  if (n < 4) return n > 1
  if (n % 2 === 0) return false
  for (let factor = 3; factor * factor <= n; factor += 2) if (n % factor === 0) return false
  return true
}

const TOPOLOGY = ['topology.kubernetes.io/region', 'topology.kubernetes.io/zone', 'topology.istio.io/subzone']

function checkLocality(setting: LocalityLbSpec, wrong: Wrong): void {
  const { distribute = [], failover = [], failoverPriority = [] } = setting
  if (distribute.length > 0 && failover.length > 0) wrong(['failover'], 'distribute and failover exclude each other')
  for (const [i, label] of failoverPriority.entries())
    if (failover.length > 0 && TOPOLOGY.includes(label))
      wrong(['failoverPriority', i], `failover and the topology label ${label} exclude each other`)
  for (const [i, { to = {} }] of distribute.entries()) {
    const weights = Object.values(to)
    for (const [locality, weight] of Object.entries(to))
      if (weight < 1 || weight > 100) wrong(['distribute', i, 'to', locality], 'a weight must be 1 to 100')
    const total = weights.reduce((sum, weight) => sum + weight, 0)
    if (total !== 100) wrong(['distribute', i, 'to'], `the weights add up to ${total}, not 100`)
    checkLocalities(Object.keys(to), (locality, message) => wrong(['distribute', i, 'to', locality], message))
  }
  checkLocalities(
    distribute.map(({ from = '' }) => from),
    (locality, message) => wrong(['distribute', distribute.findIndex(({ from = '' }) => from === locality)], message),
  )
  for (const [i, { from = '', to = '' }] of failover.entries()) {
    if (from === to) wrong(['failover', i], 'from and to must be different regions')
    if (`${from}${to}`.includes('/')) wrong(['failover', i], 'failover names regions only, no zones')
    if (`${from}${to}`.includes('*')) wrong(['failover', i], 'failover takes no "*"')
  }
}

/** Complete names, one "*" at the end at most, and none that an earlier one covers. */
function checkLocalities(localities: readonly string[], wrong: (locality: string, message: string) => void): void {
  const seen: string[][] = []
  for (const locality of localities) {
    const parts = locality.split('/')
    const stars = locality.split('*').length - 1
    if (stars > 1 || (stars === 1 && !locality.endsWith('*'))) wrong(locality, `"${locality}": one "*", at the end`)
    else if (parts.length > 3 || parts.includes('')) wrong(locality, `"${locality}" is not REGION/ZONE/SUBZONE`)
    const named = parts.filter((part) => part !== '*')
    const covered = seen.some((other) => isPrefix(other, named))
    // After the zones of a region "region/*" means the rest of it; a bare "region" would mean them too.
    const swallows = stars === 0 && seen.some((other) => isPrefix(named, other))
    if (covered || swallows) wrong(locality, `"${locality}" overlaps with one before it`)
    seen.push(named)
  }
}

function isPrefix(short: readonly string[], long: readonly string[]): boolean {
  return short.every((part, i) => part === long[i])
}
