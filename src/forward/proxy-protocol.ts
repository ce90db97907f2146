/**
 * The header of the PROXY protocol (HAProxy, doc/proxy-protocol.txt; DestinationRule `proxyProtocol`): tells an upstream
 * who is behind a connection. Made from the addresses of the caller's connection, of nothing that a caller says.
 */
import { type IpAddress, parseIp } from '../core/cidr.ts'
import type { CallerAddresses } from './forwarder.ts'

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
/** Version 2, command PROXY; and LOCAL, for a connection of which nothing is told. */
const PROXY = 0x21
const LOCAL = 0x20
/** Address family and STREAM. */
const FAMILIES = { 4: 0x11, 6: 0x21 } as const

/** To be sent before anything else, TLS included. Addresses of no common family are not told (UNKNOWN, LOCAL). */
export function proxyHeader(version: 'V1' | 'V2', caller: CallerAddresses): Buffer {
  const source = parseIp(caller.sourceIp)
  const destination = parseIp(caller.destinationIp)
  const known = source !== null && destination !== null && source.version === destination.version
  if (version === 'V1') {
    if (!known) return Buffer.from('PROXY UNKNOWN\r\n', 'latin1')
    const line = `PROXY TCP${source.version} ${text(source)} ${text(destination)} ${caller.sourcePort} ${caller.destinationPort}\r\n`
    return Buffer.from(line, 'latin1')
  }
  if (!known) return Buffer.concat([SIGNATURE, Buffer.from([LOCAL, 0, 0, 0])])
  const addresses = Buffer.concat([bytes(source), bytes(destination), Buffer.alloc(4)])
  addresses.writeUInt16BE(caller.sourcePort, addresses.length - 4)
  addresses.writeUInt16BE(caller.destinationPort, addresses.length - 2)
  return Buffer.concat([SIGNATURE, Buffer.from([PROXY, FAMILIES[source.version], 0, addresses.length]), addresses])
}

function bytes({ words }: IpAddress): Buffer {
  const all = Buffer.alloc(words.length * 4)
  for (const [i, word] of words.entries()) all.writeUInt32BE(word, i * 4)
  return all
}

/** IPv6 in full: one spelling, without a zone. */
function text(address: IpAddress): string {
  const all = bytes(address)
  if (address.version === 4) return all.join('.')
  return Array.from({ length: 8 }, (_, i) => all.readUInt16BE(i * 2).toString(16)).join(':')
}
