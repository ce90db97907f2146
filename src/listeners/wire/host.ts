/** What all connections of a wire server share. */
import type { TimerWheel } from '../../core/timer-wheel.ts'
import type { Settings } from '../../model/settings.ts'
import type { Http1Handlers } from '../http1.ts'
import type { WireConnection } from './connection.ts'

export type WireHost = {
  limits: Settings['http']
  readonly handlers: Http1Handlers
  readonly wheel: TimerWheel<WireConnection>
  forget(connection: WireConnection): void
}
