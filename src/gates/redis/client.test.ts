/** ioredis gives a connection up for good when it is told to leave while it connects; ours comes back. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RedisServer, redisSettings, skipWithoutRedis } from '../../testing/redis.ts'
import { createRedisClient } from './client.ts'

test('told to leave while it connects, it connects again', { skip: skipWithoutRedis }, async (t) => {
  const server = await RedisServer.start()
  t.after(() => server.close())
  const ready = Promise.withResolvers<void>()
  const client = createRedisClient(redisSettings(server.port), { ready: () => ready.resolve(), lost: () => undefined })
  t.after(() => client.close())
  client.reconnect()
  await ready.promise
  assert.equal(await client.call('PING', []), 'PONG')
})
