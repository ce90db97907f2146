/**
 * Is `address:port` one of our own listeners? A request sent there would come back to us (threats 41).
 */
import { networkInterfaces } from 'node:os'
import { classifyAddress } from '../core/address-class.ts'

/**
 * `bound` yields the addresses and ports really bound now: data, admin, metrics and health. The interfaces of the host
 * are only read when a port matches one bound to a wildcard address, which ordinary traffic never does.
 */
export function createSelfCheck(
  bound: () => Iterable<{ readonly address: string; readonly port: number }>,
): (address: string, port: number) => boolean {
  return (address, port) => {
    for (const listener of bound()) {
      if (listener.port !== port) continue
      if (listener.address === address) return true
      if (listener.address === '0.0.0.0' || listener.address === '::') {
        if (isLocal(address)) return true
      } else if (classifyAddress(address)?.class === 'unspecified') {
        // Connecting to 0.0.0.0 reaches whatever loopback listener has the port.
        return true
      }
    }
    return false
  }
}

function isLocal(address: string): boolean {
  const kind = classifyAddress(address)?.class
  if (kind === 'loopback' || kind === 'unspecified') return true
  for (const interfaces of Object.values(networkInterfaces())) {
    for (const { address: own } of interfaces ?? []) if (own === address) return true
  }
  return false
}
