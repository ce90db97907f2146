/** What the request mix is made of; mix.js is checked against this, and so are its users, the k6 scripts and the Node test. */

export type Step = {
  /** For k6's tag `name`: few values, whatever the paths. */
  readonly name: string
  readonly method: 'GET' | 'POST'
  readonly host: string
  readonly path: string
  readonly body: string | null
  /** Whether policy lets it out. */
  readonly expect: 'allow' | 'deny'
  readonly status: number
  /** `x-sallyport-reason`; null: the header must not be there. */
  readonly reason: string | null
  /** Text that the answer must hold; null: its body is not looked at. */
  readonly contains: string | null
  /** How often it comes, among the others of its list. */
  readonly weight: number
}

export type Answer = { readonly status: number; readonly reason: string | null; readonly body: string | null }
export type Identity = 'allowed' | 'refused'
export type MixName = 'mixed' | 'deny' | 'upgrade'

/** Gateway's name for TLS; mTLS servers do not compare it with Host. */
export const GATEWAY_NAME: string
export const MIXES: { readonly [M in MixName]: { readonly [I in Identity]: readonly Step[] } }
/** The steps of a list in the order of a run, each as often as its weight says, spread evenly. */
export function rotation(steps: readonly Step[]): readonly Step[]
/** By name, whether the answer is the one expected. */
export function verdict(step: Step, answer: Answer): { readonly [check: string]: boolean }
/** Something that should have been refused was answered by the outside: what must never happen, under any load. */
export function leaked(step: Step, answer: Answer): boolean
