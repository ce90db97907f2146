/** The Redis that gateways share limits and blocks through. Durations are milliseconds, paths absolute. */

export type RedisNode = { readonly host: string; readonly port: number }

/** TLS to every node. Paths of PEM files; null: the system's authorities, no client certificate, the node's own name. */
export type RedisTls = {
  readonly ca: string | null
  readonly cert: string | null
  readonly key: string | null
  readonly serverName: string | null
}

export type RedisSettings = {
  readonly mode: 'standalone' | 'sentinel' | 'cluster'
  /** The server itself, the Sentinels, or some nodes of the Cluster. */
  readonly nodes: readonly RedisNode[]
  /** What the Sentinels call the primary; null: no Sentinels. */
  readonly master: string | null
  readonly db: number
  readonly username: string | null
  /** From the URL; `redact` keeps it out of dumps by its name. null: none, or that of `passwordFile`. */
  readonly password: string | null
  readonly passwordFile: string | null
  /** Of the Sentinels themselves. */
  readonly sentinelUsername: string | null
  readonly sentinelPasswordFile: string | null
  /** null: plaintext. */
  readonly tls: RedisTls | null
  /** Every key and channel begins with it. */
  readonly keyPrefix: string
  /** How long a decision waits for an answer. */
  readonly timeoutMs: number
  readonly connectTimeoutMs: number
  readonly breaker: {
    /** Unanswered questions in a row after which nobody waits any more. */
    readonly failures: number
    /** How often it is then asked whether it is back. */
    readonly probeIntervalMs: number
  }
  /** What a gateway takes of a busy count in advance, to use without asking. */
  readonly leases: {
    /** Units at most; 1: none in advance. */
    readonly max: number
    /** Per cent of the limit at most. */
    readonly share: number
    /** What is not used by then is lost. */
    readonly ttlMs: number
  }
}
