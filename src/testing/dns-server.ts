/**
 * A DNS server for tests: answers A and AAAA over UDP as it is told, records every question, and can be silent,
 * refuse, lie about TTLs or truncate (then it answers over TCP on the same port, RFC 7766).
 */
import { createSocket, type Socket } from 'node:dgram'
import { createServer, type Server } from 'node:net'

export type DnsQuestion = {
  readonly name: string
  readonly type: 'A' | 'AAAA' | number
  readonly transport: 'udp' | 'tcp'
}

export type DnsReply =
  | {
      readonly kind: 'answer'
      readonly addresses: readonly string[]
      /** Seconds. */
      readonly ttl: number
      /** Answer through this alias. */
      readonly cname?: string
    }
  | { readonly kind: 'rcode'; readonly code: 'NXDOMAIN' | 'SERVFAIL' | 'REFUSED' }
  | { readonly kind: 'silence' }
  | { readonly kind: 'truncated'; readonly addresses: readonly string[]; readonly ttl: number }

export type DnsServer = AsyncDisposable & {
  /** `127.0.0.1:port`, as `spec.dns.servers` takes it. */
  readonly address: string
  readonly questions: DnsQuestion[]
  close(): Promise<void>
}

const RCODES = { NXDOMAIN: 3, SERVFAIL: 2, REFUSED: 5 } as const

/** `answer` is asked once per question; names come in lower case without the trailing dot. */
export async function startDnsServer(answer: (question: DnsQuestion) => DnsReply): Promise<DnsServer> {
  const questions: DnsQuestion[] = []
  const respond = (query: Buffer, transport: 'udp' | 'tcp'): Buffer | null => {
    const parsed = readQuestion(query)
    if (parsed === null) return null
    const question: DnsQuestion = { name: parsed.name, type: parsed.type, transport }
    questions.push(question)
    return encode(query, parsed.end, question, answer(question))
  }
  const { udp, tcp, port } = await bind()
  udp.on('message', (query, from) => {
    const reply = respond(query, 'udp')
    if (reply !== null) udp.send(reply, from.port, from.address)
  })
  tcp.on('connection', (socket) => {
    let buffered = Buffer.alloc(0)
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk) => {
      buffered = Buffer.concat([buffered, chunk])
      while (buffered.length >= 2 && buffered.length >= 2 + buffered.readUInt16BE(0)) {
        const length = buffered.readUInt16BE(0)
        const reply = respond(buffered.subarray(2, 2 + length), 'tcp')
        buffered = buffered.subarray(2 + length)
        if (reply === null) continue
        const size = Buffer.alloc(2)
        size.writeUInt16BE(reply.length)
        socket.write(Buffer.concat([size, reply]))
      }
    })
  })
  const close = async (): Promise<void> => {
    await new Promise<void>((resolve) => udp.close(() => resolve()))
    await new Promise<void>((resolve) => tcp.close(() => resolve()))
  }
  return { address: `127.0.0.1:${port}`, questions, close, [Symbol.asyncDispose]: close }
}

/** UDP and TCP on one port; the second bind can lose a race, so it is tried a few times. */
async function bind(): Promise<{ udp: Socket; tcp: Server; port: number }> {
  for (let attempt = 0; attempt < 10; attempt++) {
    const udp = createSocket('udp4')
    await new Promise<void>((resolve) => udp.bind(0, '127.0.0.1', resolve))
    const { port } = udp.address()
    const tcp = createServer()
    const bound = await new Promise<boolean>((resolve) => {
      tcp.once('error', () => resolve(false))
      tcp.listen(port, '127.0.0.1', () => resolve(true))
    })
    if (bound) return { udp, tcp, port }
    udp.close()
  }
  throw new Error('no port is free for both UDP and TCP')
}

function readQuestion(query: Buffer): { name: string; type: DnsQuestion['type']; end: number } | null {
  if (query.length < 17 || query.readUInt16BE(4) !== 1) return null
  const labels: string[] = []
  let at = 12
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  const type = query.readUInt16BE(at + 1)
  return { name: labels.join('.').toLowerCase(), type: type === 1 ? 'A' : type === 28 ? 'AAAA' : type, end: at + 5 }
}

function encode(query: Buffer, end: number, question: DnsQuestion, reply: DnsReply): Buffer | null {
  if (reply.kind === 'silence') return null
  const header = Buffer.alloc(12)
  query.copy(header, 0, 0, 2)
  const body = query.subarray(12, end)
  const truncate = reply.kind === 'truncated' && question.transport === 'udp'
  const rcode = reply.kind === 'rcode' ? RCODES[reply.code] : 0
  header.writeUInt16BE(0x8180 | (truncate ? 0x0200 : 0) | rcode, 2)
  header.writeUInt16BE(1, 4)
  if (reply.kind === 'rcode' || truncate) return Buffer.concat([header, body])
  const records: Buffer[] = []
  // Pointer to the name in the question (RFC 1035 §4.1.4), or to the alias once there is one.
  let owner: Buffer = Buffer.from([0xc0, 12])
  if (reply.kind === 'answer' && reply.cname !== undefined) {
    const alias = encodeName(reply.cname)
    records.push(record(owner, 5, reply.ttl, alias))
    owner = alias
  }
  for (const address of reply.addresses) {
    if ((question.type === 'A') === address.includes(':') || typeof question.type === 'number') continue
    records.push(record(owner, question.type === 'A' ? 1 : 28, reply.ttl, encodeAddress(address)))
  }
  header.writeUInt16BE(records.length, 6)
  return Buffer.concat([header, body, ...records])
}

function record(owner: Buffer, type: number, ttl: number, data: Buffer): Buffer {
  const fixed = Buffer.alloc(10)
  fixed.writeUInt16BE(type, 0)
  fixed.writeUInt16BE(1, 2)
  fixed.writeUInt32BE(ttl >>> 0, 4)
  fixed.writeUInt16BE(data.length, 8)
  return Buffer.concat([owner, fixed, data])
}

function encodeName(name: string): Buffer {
  const parts = name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]))
  return Buffer.concat([...parts, Buffer.from([0])])
}

function encodeAddress(address: string): Buffer {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number))
  const [head = '', tail = ''] = address.split('::')
  const left = head.split(':').filter(Boolean)
  const right = address.includes('::') ? tail.split(':').filter(Boolean) : []
  const groups = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => '0'), ...right]
  const bytes = Buffer.alloc(16)
  for (const [index, group] of groups.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), index * 2)
  return bytes
}
