/**
 * The gate of blocks (contract §4: before everything but normalisation), and the end of what is already under way. Asked
 * twice: by the name that is asked for, and again, after the judgement, by where the route leads.
 */
import { parseAuthority } from '../../core/authority.ts'
import type { Block } from '../../core/block.ts'
import type { ExchangeRecord } from '../../observe/record.ts'
import type { Connections } from '../../runtime/connections.ts'
import type { Gate, Passage } from '../../runtime/gate.ts'
import type { Tunnels } from '../../runtime/tunnels.ts'
import type { Blocks } from './blocks.ts'

export function createBlockGate(blocks: Blocks): Gate {
  return {
    name: 'blocks',
    admit: (passage) => {
      const block = blocks.covering(passage.connection.peer, hostsOf(passage))
      if (block === null) return null
      blocks.refused += 1
      return { kind: 'blocked', details: blockDetails(block) }
    },
  }
}

/** Of `outbound|443||edition.cnn.com`; null: a cluster that is no host's. */
function clusterHost(name: string | null): string | null {
  return name === null || !name.includes('|') ? null : name.slice(name.lastIndexOf('|') + 1)
}

function hostsOf({ attributes, judgement, sni }: Passage): string[] {
  const hosts = [attributes.http?.authority.host ?? null, sni, clusterHost(judgement?.clusterName ?? null)]
  return hosts.filter((host) => host !== null)
}

/** The same of something that is under way. */
function hostsUnderWay(record: ExchangeRecord): string[] {
  const { authority, connection, innerServerName, upstreamCluster } = record
  const asked = authority === null ? null : (parseAuthority(authority)?.host ?? null)
  // Of a tunnel that is passed through, its SNI is that of the connection.
  const sni = record.kind === 'tcp' ? (innerServerName ?? connection.tls?.sni ?? null) : null
  return [asked, sni, clusterHost(upstreamCluster)].filter((host) => host !== null)
}

/** Goes into the log only: the caller is told that it is blocked, not by whom or why. */
function blockDetails({ id, reason }: Block): string {
  return `blocked{${id}:${reason.replaceAll(/[\s{}]+/g, '_')}}`
}

/** Ends every tunnel and request under way that a block covers, at once. */
export function enforceBlocks(blocks: Blocks, tunnels: Tunnels, connections: Connections): void {
  const verdict = (record: ExchangeRecord): string | null => {
    const block = blocks.covering(record.connection.peer, hostsUnderWay(record))
    if (block === null) return null
    blocks.refused += 1
    return blockDetails(block)
  }
  tunnels.closeCovered('blocked', verdict)
  connections.cutCovered(verdict)
}
