// mqttjs_peer.cjs SCENARIO URL VERSION - MQTT.js as a client of ours: one scenario, exit code 0 when everything held.
'use strict'
const assert = require('node:assert')
const crypto = require('node:crypto')
const mqtt = require('mqtt')

const [scenario, url, version] = [process.argv[2], process.argv[3], Number(process.argv[4])]
const PATIENCE = 20000
const COUNT = 200
const rightId = () => 'mqttjs-' + crypto.randomBytes(8).toString('hex')

async function connect (options = {}) {
  const client = await mqtt.connectAsync(url, { protocolVersion: version, clientId: rightId(), reconnectPeriod: 0, ...options })
  client.waiting = []
  client.arrived = []
  client.on('message', (topic, payload, packet) => {
    const message = { topic, payload, packet }
    const taker = client.waiting.shift()
    if (taker) taker(message)
    else client.arrived.push(message)
  })
  return client
}

function next (client) {
  if (client.arrived.length > 0) return Promise.resolve(client.arrived.shift())
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no message within the time')), PATIENCE)
    client.waiting.push((message) => { clearTimeout(timer); resolve(message) })
  })
}

async function quiet (client, ms = 300) {
  await new Promise((resolve) => setTimeout(resolve, ms))
  assert.deepStrictEqual(client.arrived, [])
}

const scenarios = {
  async qos () {
    const [sub, pub] = [await connect(), await connect()]
    for (const qos of [0, 1, 2]) {
      const topic = `js/${version}/${qos}`
      const granted = await sub.subscribeAsync(topic, { qos })
      assert.strictEqual(granted[0].qos, qos)
      const sent = []
      for (let i = 0; i < COUNT; i++) sent.push(pub.publishAsync(topic, String(i), { qos }))
      await Promise.all(sent)
      for (let i = 0; i < COUNT; i++) {
        const message = await next(sub)
        assert.strictEqual(message.payload.toString(), String(i))
        assert.strictEqual(message.packet.qos, qos)
      }
      await quiet(sub, 100)
    }
    await Promise.all([sub.endAsync(), pub.endAsync()])
  },

  async retained () {
    const [pub, sub] = [await connect(), await connect()]
    const topic = `js/kept/${version}`
    await pub.publishAsync(topic, 'old', { qos: 1, retain: true })
    await sub.subscribeAsync(topic, { qos: 1 })
    const message = await next(sub)
    assert.strictEqual(message.payload.toString(), 'old')
    assert.strictEqual(message.packet.retain, true)
    await pub.publishAsync(topic, '', { qos: 1, retain: true })
    await next(sub)
    const late = await connect()
    await late.subscribeAsync(topic, { qos: 1 })
    await quiet(late)
    await Promise.all([pub.endAsync(), sub.endAsync(), late.endAsync()])
  },

  async will () {
    const topic = `js/will/${version}`
    const watcher = await connect()
    await watcher.subscribeAsync(topic, { qos: 1 })
    const dying = await connect({ will: { topic, payload: Buffer.from('gone'), qos: 1, retain: false } })
    dying.on('error', () => {})
    dying.stream.destroy()
    const message = await next(watcher)
    assert.strictEqual(message.payload.toString(), 'gone')
    await watcher.endAsync()
  },

  async session () {
    const clientId = rightId()
    const topic = `js/session/${version}`
    const keep = { clientId, clean: false, properties: version === 5 ? { sessionExpiryInterval: 60 } : undefined }
    const first = await connect(keep)
    await first.subscribeAsync(topic, { qos: 2 })
    await first.endAsync()
    const pub = await connect()
    for (const qos of [1, 2]) await pub.publishAsync(topic, `while away ${qos}`, { qos })
    await pub.endAsync()
    const again = mqtt.connect(url, { protocolVersion: version, reconnectPeriod: 0, ...keep })
    const got = []
    const both = new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error(`only ${got}`)), PATIENCE).unref()
      again.on('message', (_, payload) => { got.push(payload.toString()); if (got.length === 2) resolve() })
    })
    const connack = await new Promise((resolve) => again.on('connect', resolve))
    assert.strictEqual(connack.sessionPresent, true)
    await both
    assert.deepStrictEqual(got, ['while away 1', 'while away 2'])
    await again.endAsync()
  },

  async large () {
    const [pub, sub] = [await connect(), await connect()]
    const payload = crypto.randomBytes(700000)
    await sub.subscribeAsync('js/large', { qos: 1 })
    await pub.publishAsync('js/large', payload, { qos: 1 })
    assert.ok((await next(sub)).payload.equals(payload))
    await Promise.all([sub.endAsync(), pub.endAsync()])
  },

  // 5.0 alone from here on
  async properties () {
    const [pub, sub] = [await connect(), await connect({ properties: { topicAliasMaximum: 5, receiveMaximum: 3 } })]
    await sub.subscribeAsync('js/props/#', { qos: 1, properties: { subscriptionIdentifier: 7 } })
    const properties = {
      contentType: 'text/plain', responseTopic: 'answers', correlationData: Buffer.from([1, 2, 0]), messageExpiryInterval: 60,
      payloadFormatIndicator: true, userProperties: { a: ['1', '2'], b: '3' }
    }
    for (let i = 0; i < 10; i++) await pub.publishAsync('js/props/x', 'x', { qos: 1, properties })
    for (let i = 0; i < 10; i++) {
      const { topic, packet } = await next(sub)
      assert.strictEqual(topic, 'js/props/x')
      const got = packet.properties
      assert.strictEqual(got.contentType, 'text/plain')
      assert.strictEqual(got.responseTopic, 'answers')
      assert.ok(got.correlationData.equals(properties.correlationData))
      assert.ok(got.messageExpiryInterval > 50 && got.messageExpiryInterval <= 60)
      assert.strictEqual(Boolean(got.payloadFormatIndicator), true)
      assert.deepStrictEqual([...got.userProperties.a], ['1', '2'])
      assert.strictEqual(Number(got.subscriptionIdentifier), 7)
    }
    await Promise.all([sub.endAsync(), pub.endAsync()])
  },

  async aliases () {
    const [pub, sub] = [await connect({ autoAssignTopicAlias: true }), await connect()]
    await sub.subscribeAsync('js/alias/#', { qos: 1 })
    for (let i = 0; i < 5; i++) await pub.publishAsync('js/alias/x', String(i), { qos: 1, properties: { topicAlias: 3 } })
    for (let i = 0; i < 5; i++) assert.strictEqual((await next(sub)).topic, 'js/alias/x')
    await Promise.all([sub.endAsync(), pub.endAsync()])
  },

  async options () {
    const own = await connect()
    await own.subscribeAsync('js/own', { qos: 1, nl: true })
    await own.publishAsync('js/own', 'mine', { qos: 1 })
    await quiet(own)
    await own.publishAsync('js/rap', 'kept', { qos: 1, retain: true })
    await own.subscribeAsync('js/rap', { qos: 1, rh: 2, rap: true })
    await quiet(own)
    await own.publishAsync('js/rap', 'again', { qos: 1, retain: true })
    assert.strictEqual((await next(own)).packet.retain, true)
    await own.publishAsync('js/rap', '', { qos: 1, retain: true })
    await own.endAsync()
  },

  async shared () {
    const [a, b, pub] = [await connect(), await connect(), await connect()]
    for (const member of [a, b]) await member.subscribeAsync('$share/g/js/work', { qos: 1 })
    for (let i = 0; i < 20; i++) await pub.publishAsync('js/work', String(i), { qos: 1 })
    for (let i = 0; i < 10; i++) for (const member of [a, b]) await next(member)
    await quiet(a)
    await quiet(b)
    await Promise.all([a.endAsync(), b.endAsync(), pub.endAsync()])
  },

  async takeover () {
    const clientId = rightId()
    const first = await connect({ clientId })
    const told = new Promise((resolve) => first.on('disconnect', resolve))
    const second = await connect({ clientId })
    assert.strictEqual((await told).reasonCode, 0x8e)
    await second.endAsync()
  }
}

setTimeout(() => { console.error('out of time'); process.exit(1) }, 3 * PATIENCE).unref()
scenarios[scenario]().then(() => process.exit(0), (error) => { console.error(error); process.exit(1) })
