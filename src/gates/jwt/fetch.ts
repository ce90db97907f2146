/**
 * Fetches a small JSON document for the gateway itself, by the rules for everything it dials: own DNS, every address judged
 * before it is dialled, servers verified. No redirect is followed, so no answer can lead anywhere else.
 */
import { type IncomingMessage, request } from 'node:http'
import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { createSecureContext, type SecureContext } from 'node:tls'
import { VERSION } from '../../core/version.ts'
import { type AddressGuard, createAddressGuard } from '../../forward/address-guard.ts'
import { type DialTls, dial } from '../../forward/dial.ts'
import { createNameResolver, type NameResolver } from '../../forward/resolve.ts'
import type { Settings } from '../../model/settings.ts'

/** How documents are come by; rejects with an Error that an operator can read. */
export type FetchDocument = (uri: string, timeoutMs: number) => Promise<string>

export type FetchSettings = Pick<Settings, 'dns' | 'addressGuard'>

const MAX_BYTES = 1_048_576
const MAX_ADDRESSES = 3
const KEEP_ALIVE_MS = 15_000

/** `authorities`: PEM certificates that a server must chain to. Asked for once, by the first https URI. */
export function createDocumentFetcher(
  settings: FetchSettings,
  isSelf: (address: string, port: number) => boolean,
  authorities: () => readonly string[],
): FetchDocument {
  const resolver = createNameResolver(settings.dns, () => performance.now())
  const guard = createAddressGuard(settings.addressGuard.allow, isSelf)
  let context: SecureContext | null = null
  const secure = (): SecureContext => {
    context ??= createSecureContext({ ca: [...authorities()] })
    return context
  }
  return async (text, timeoutMs) => {
    const uri = new URL(text)
    const deadline = new Deadline(timeoutMs)
    try {
      const addresses = await deadline.race(addressesOf(uri, resolver))
      const socket = await connectFirst(uri, judged(uri, addresses, guard), deadline, secure)
      return await deadline.race(get(uri, socket))
    } finally {
      deadline.end()
    }
  }
}

/** One bound on all of it: what is open when it comes is closed. */
class Deadline {
  readonly #at: number
  readonly #timer: NodeJS.Timeout
  readonly #late: Promise<never>
  readonly #open: (() => void)[] = []

  constructor(ms: number) {
    this.#at = performance.now() + ms
    const { promise, reject } = Promise.withResolvers<never>()
    // Nobody may be waiting any more.
    promise.catch(() => undefined)
    this.#late = promise
    this.#timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms)
  }

  get leftMs(): number {
    return Math.max(this.#at - performance.now(), 1)
  }

  async race<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#late])
  }

  closeAtEnd(close: () => void): void {
    this.#open.push(close)
  }

  end(): void {
    clearTimeout(this.#timer)
    for (const close of this.#open.splice(0)) close()
  }
}

function portOf(uri: URL): number {
  return uri.port === '' ? (uri.protocol === 'https:' ? 443 : 80) : Number(uri.port)
}

/** Without the brackets of an IPv6 literal and without a last dot. */
function hostOf(uri: URL): string {
  return uri.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '')
}

async function addressesOf(uri: URL, resolver: NameResolver): Promise<readonly string[]> {
  const host = hostOf(uri)
  if (isIP(host) !== 0) return [host]
  const { addresses, failure } = await resolver.lookup(host)
  if (failure !== null) throw new Error(`${host} does not resolve: ${failure}`)
  return addresses
}

/** Those that may be dialled; also what the operator wrote down as a URI needs `addressGuard.allow` where it is private. */
function judged(uri: URL, addresses: readonly string[], guard: AddressGuard): readonly string[] {
  const port = portOf(uri)
  const denials = addresses.map((address) =>
    guard.isSelf(address, port) ? 'the gateway itself' : guard.judge(address, 'resolved'),
  )
  const allowed = addresses.filter((_, i) => denials[i] === null)
  if (allowed.length > 0) return allowed.slice(0, MAX_ADDRESSES)
  throw new Error(`${hostOf(uri)} is ${addresses[0]} (${denials[0]}), which spec.addressGuard.allow does not hold`)
}

async function connectFirst(
  uri: URL,
  addresses: readonly string[],
  deadline: Deadline,
  secure: () => SecureContext,
): Promise<Duplex> {
  let last: unknown = new Error('no address')
  for (const address of addresses) {
    try {
      return await deadline.race(connectTo(uri, address, deadline, secure))
    } catch (error) {
      last = error
    }
  }
  throw last
}

function connectTo(uri: URL, address: string, deadline: Deadline, secure: () => SecureContext): Promise<Duplex> {
  const host = hostOf(uri)
  const tls: DialTls | null =
    uri.protocol === 'http:'
      ? null
      : {
          context: secure(),
          serverName: isIP(host) === 0 ? host : null,
          names: [host],
          skipVerify: false,
          alpn: ['http/1.1'],
        }
  return new Promise((resolve, reject) => {
    const dialling = dial(
      { address, port: portOf(uri), connectTimeoutMs: deadline.leftMs, keepAliveMs: KEEP_ALIVE_MS, preface: null, tls },
      null,
      {
        onReady: (socket, stream) => {
          deadline.closeAtEnd(() => socket.destroy())
          resolve(stream)
        },
        onFailed: ({ failure }) => reject(new Error(failure.transportFailure ?? failure.kind)),
        onSession: () => undefined,
      },
      null,
    )
    deadline.closeAtEnd(() => dialling.cancel())
  })
}

function get(uri: URL, stream: Duplex): Promise<string> {
  return new Promise((resolve, reject) => {
    const asking = request({
      createConnection: () => stream,
      method: 'GET',
      path: `${uri.pathname}${uri.search}`,
      headers: {
        host: uri.host,
        accept: 'application/json',
        'accept-encoding': 'identity',
        'user-agent': `sallyport/${VERSION}`,
        connection: 'close',
      },
    })
    asking.on('response', (response) => void read(response).then(resolve, reject))
    asking.on('error', reject)
    asking.end()
  })
}

async function read(response: IncomingMessage): Promise<string> {
  const { statusCode, headers } = response
  if (statusCode !== 200)
    throw new Error(`answered ${statusCode}${headers.location === undefined ? '' : '; redirects are not followed'}`)
  const coding = headers['content-encoding'] ?? 'identity'
  if (coding !== 'identity') throw new Error(`answered with content-encoding ${coding}`)
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > MAX_BYTES) throw new Error(`answered more than ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
}
