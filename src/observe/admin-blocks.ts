/** `/blocks` of the admin port: what is blocked, and the switch (contract §8). Everything is in the query; a body means nothing here. */
import { type Answer, type ControlRequest, json, text } from './http-server.ts'

/** As an operator writes it; `undefined` where it was left out. */
type WrittenBlock = {
  readonly from: string
  readonly to: string | null
  readonly for: string
  readonly reason: string
}

/** What the switch does. */
export type BlockSwitch = {
  readonly list: () => readonly object[]
  /** What is wrong with it as text, or the block as it holds now. */
  readonly block: (written: WrittenBlock) => Promise<string | object>
  /** False: there is none of that id. Rejects when it cannot be lifted everywhere. */
  readonly unblock: (id: string) => Promise<boolean>
}

const FIELDS = ['from', 'to', 'for', 'reason']
const USAGE = 'usage: POST /blocks?from=PRINCIPAL|ns/NAMESPACE|*[&to=HOST]&for=30m&reason=TEXT\n'

export function listBlocks({ list }: BlockSwitch): Answer {
  return json({ blocks: list() })
}

export async function addBlock({ block }: BlockSwitch, { query }: ControlRequest): Promise<Answer> {
  // A misspelt `to` would block more than was meant.
  const odd = [...query.keys()].find((name) => !FIELDS.includes(name) || query.getAll(name).length > 1)
  if (odd !== undefined) return text(400, `${JSON.stringify(odd)} is unknown, or stands twice\n${USAGE}`)
  const answer = await block({
    from: query.get('from') ?? '',
    to: query.get('to'),
    for: query.get('for') ?? '',
    reason: query.get('reason') ?? '',
  })
  return typeof answer === 'string' ? text(400, `${answer}\n${USAGE}`) : json(answer)
}

export async function removeBlock({ unblock }: BlockSwitch, { query }: ControlRequest): Promise<Answer> {
  const id = query.get('id')
  if (id === null) return text(400, 'usage: DELETE /blocks?id=ID\n')
  try {
    return (await unblock(id))
      ? text(200, `unblocked ${id}\n`)
      : text(404, `no block has the id ${JSON.stringify(id)}\n`)
  } catch (error) {
    return text(503, `not lifted, Redis cannot be told: ${error instanceof Error ? error.message : String(error)}\n`)
  }
}
