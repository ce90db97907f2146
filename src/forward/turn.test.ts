import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as immediately } from 'node:timers/promises'
import { Turn } from './turn.ts'

/** Writes down what is asked of it; `also` is what it does then. */
function actor(said: string[], name: string, also: Readonly<Record<string, () => void>> = {}) {
  const act = (what: string) => () => {
    said.push(`${name} ${what}`)
    also[what]?.()
  }
  return {
    hear: act('hears'),
    ask: act('asks'),
    begin: act('begins'),
    speak: act('speaks'),
    settle: act('settles'),
  }
}

test('all are heard, then judged, then all begin, then all speak, sites first, in one turn of the event loop', async () => {
  const said: string[] = []
  const turn = new Turn()
  const callers = ['a', 'b'].map((name) => {
    const one = actor(said, name, {
      hears: () => turn.ask(one),
      asks: () => turn.begin(one),
      begins: () => turn.speakToSite(one),
    })
    return one
  })
  const site = actor(said, 'site', { hears: () => turn.speakToCaller(site), speaks: () => turn.settle(site) })
  for (const one of callers) turn.hearCaller(one)
  turn.hearSite(site)
  assert.deepEqual(said, [], 'not before the turn ends')
  await immediately()
  const stages = [
    ['site hears', 'a hears', 'b hears'],
    ['a asks', 'b asks'],
    ['a begins', 'b begins'],
    ['a speaks', 'b speaks', 'site speaks'],
    ['site settles'],
  ]
  assert.deepEqual(said, stages.flat())
  await immediately()
  assert.equal(said.length, stages.flat().length, 'once')
})

test('outside of the stages what begins begins in this very turn, but not within the call', async () => {
  const said: string[] = []
  const turn = new Turn()
  turn.begin(actor(said, 'a'))
  turn.begin(actor(said, 'b'))
  assert.deepEqual(said, [])
  await new Promise((done) => process.nextTick(done))
  assert.deepEqual(said, ['a begins', 'b begins'])
})

test('who comes too late for its stage has its turn all the same', async () => {
  const said: string[] = []
  const turn = new Turn()
  const late = actor(said, 'late', { hears: () => turn.speakToSite(late) })
  const speaker = actor(said, 'first', {
    speaks: () => {
      turn.hearCaller(late)
      turn.begin(late)
    },
  })
  turn.speakToCaller(speaker)
  await immediately()
  await immediately()
  assert.deepEqual(said, ['first speaks', 'late hears', 'late begins', 'late speaks'])
})

test('a mistake of one costs nobody else its turn, and a crowd does not wait for the end of it', async () => {
  const said: string[] = []
  const turn = new Turn()
  const broken = actor(said, 'broken', {
    hears: () => {
      throw new Error('a mistake')
    },
  })
  turn.hearCaller(actor(said, 'before'))
  turn.hearCaller(broken)
  assert.throws(() => {
    for (let i = 0; i < 1000; i++) {
      const one = actor(said, `${i}`, { hears: () => turn.speakToCaller(one) })
      turn.hearCaller(one)
    }
  }, /a mistake/)
  assert.deepEqual(said, ['before hears', 'broken hears'], 'so many are not kept waiting')
  await immediately()
  const heard = said.filter((each) => each.endsWith('hears'))
  assert.ok(heard.length > 100, `${heard.length}`)
  assert.equal(said.filter((each) => each.endsWith('speaks')).length, heard.length - 2)
})
