/** ClientHellos made by hand, right and wrong (RFC 8446 §4.1.2), for what no TLS library would send. */

export type HelloOptions = {
  /** host_name entries of one server_name extension; none: no such extension. */
  readonly names?: readonly string[]
  /** Further extensions: type and data. */
  readonly extensions?: readonly (readonly [type: number, data: Buffer])[]
  /** Payload bytes per TLS record; default: all in one. */
  readonly recordSize?: number
}

const uint = (value: number, size: number): Buffer => {
  const bytes = Buffer.alloc(size)
  bytes.writeUIntBE(value, 0, size)
  return bytes
}
const vector = (size: number, ...parts: readonly Buffer[]): Buffer => {
  const body = Buffer.concat(parts)
  return Buffer.concat([uint(body.length, size), body])
}

/** The data of a server_name extension (RFC 6066 §3), one character per byte. */
export function serverNames(names: readonly string[]): Buffer {
  return vector(2, ...names.map((name) => Buffer.concat([Buffer.from([0]), vector(2, Buffer.from(name, 'latin1'))])))
}

/** Handshake bytes cut into TLS records of at most `size` bytes each. */
export function records(message: Buffer, size = 16384): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at < message.length; at += size) {
    const piece = message.subarray(at, at + size)
    parts.push(Buffer.from([0x16, 3, 1]), uint(piece.length, 2), piece)
  }
  return Buffer.concat(parts)
}

/** A hello a server would read; whether any would like it is another matter. */
export function buildHello({ names = [], extensions = [], recordSize }: HelloOptions = {}): Buffer {
  const all = [...(names.length === 0 ? [] : [[0, serverNames(names)] as const]), ...extensions]
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32, 7),
    vector(1, Buffer.alloc(32, 9)),
    vector(2, Buffer.from([0x13, 0x01, 0x13, 0x02])),
    vector(1, Buffer.from([0])),
    vector(2, ...all.flatMap(([type, data]) => [uint(type, 2), vector(2, data)])),
  ])
  return records(Buffer.concat([Buffer.from([1]), uint(body.length, 3), body]), recordSize)
}
