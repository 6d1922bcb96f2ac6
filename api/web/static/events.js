// Live updates of an open page: the feed, a job's output, times. See notifications.js.
'use strict'

// One stream per visible page: browsers limit the connections to a host.
const topics = (document.body.dataset.feed ?? '').split(' ').filter(Boolean)
const waiting = {}
let feed = null

function follow() {
  if (!topics.length || document.hidden || feed) return
  const stream = feed = new EventSource('/api/events')
  for (const topic of topics) stream.addEventListener(topic, () => refresh(topic))
  stream.onopen = () => setBanner()
  stream.onerror = () => {
    setTimeout(sayIfAway, 2000)
    if (stream.readyState !== EventSource.CLOSED || stream !== feed) return
    unfollow()
    setTimeout(follow, 3000)
    // Refused: the stream does not contain the reason.
    call('HEAD', '/api/events').then((answer) => { if (answer.status === 401) reloadPage('signed_out') })
  }
}

function sayIfAway() {
  if (!document.hidden && feed?.readyState !== EventSource.OPEN && banner.dataset.what !== 'signed_out') setBanner('away')
}

function unfollow() {
  feed?.close()
  feed = null
}

// At most once a second for each topic, the last change included.
function refresh(topic) {
  if (waiting[topic]) { waiting[topic] = 'again'; return }
  waiting[topic] = 'yes'
  htmx.trigger(document.body, `changed-${topic}`)
  setTimeout(() => {
    const again = waiting[topic] === 'again'
    waiting[topic] = null
    if (again) refresh(topic)
  }, 1000)
}

document.addEventListener('visibilitychange', () => document.hidden ? unfollow() : follow())
addEventListener('pagehide', unfollow)

// Reload a fragment that failed because of a network change or a restart of the API, if the stream is connected; when it
// reconnects, everything is reloaded.
document.addEventListener('htmx:error', () => setTimeout(() => {
  if (feed?.readyState === EventSource.OPEN) topics.forEach(refresh)
}, 2000))

function followJob(list) {
  const stream = new EventSource(list.dataset.jobLog)
  let isNew = true
  const add = (event) => {
    if (isNew) list.replaceChildren() // a stream that was opened again begins with the first line
    isNew = false
    const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 40
    const data = JSON.parse(event.data)
    const line = document.createElement('div')
    const moment = document.createElement('time')
    moment.dateTime = data.at
    moment.textContent = clock(new Date(data.at))
    const done = data.total > 1 || data.done ? ` (${data.done}/${data.total})` : ''
    const step = data.codes?.text
    const text = step ? filled(words.step[step.id.replace('step.', '')], step.params) : words.state[data.state] ?? data.text
    line.append(moment, ' ', text ?? '', done)
    list.append(line)
    if (follows) list.scrollTop = list.scrollHeight
    if (event.type === 'ended') stream.close()
  }
  // A task's title is English.
  for (const kind of ['progress', 'resumed', 'canceling', 'ended']) stream.addEventListener(kind, add)
  if (language === 'en') stream.addEventListener('task', add)
  stream.onerror = () => { if (stream.readyState === EventSource.CLOSED) setTimeout(followJob, 3000, list) }
}

// --- Times ---------------------------------------------------------------------------------------------------------

// As the reader's own region writes them, where the page is in their language.
const region = navigator.languages.find((name) => name.startsWith(language)) ?? language
const ago = new Intl.RelativeTimeFormat(region, { numeric: 'auto' })
const whole = new Intl.DateTimeFormat(region, { dateStyle: 'medium', timeStyle: 'short' })
const hours = new Intl.DateTimeFormat(region, { hour: '2-digit', minute: '2-digit', second: '2-digit' })
const minutes = new Intl.DateTimeFormat(region, { timeStyle: 'short' })

function clock(moment, ofDay = hours) {
  return moment.toDateString() === new Date().toDateString() ? ofDay.format(moment) : whole.format(moment)
}

function since(moment) {
  const seconds = (moment - Date.now()) / 1000
  for (const [unit, length] of [['day', 86400], ['hour', 3600], ['minute', 60]]) {
    if (Math.abs(seconds) >= length) return ago.format(Math.round(seconds / length), unit)
  }
  return ago.format(0, 'second')
}

function tellTimes() {
  for (const time of $$('time[datetime]')) {
    const moment = new Date(time.dateTime)
    if (Number.isNaN(moment.valueOf())) continue
    if (time.dataset.ago !== undefined) time.textContent = since(moment)
    else if (time.dataset.clock !== undefined) time.textContent = clock(moment, time.dataset.clock === 'short' ? minutes : hours)
    time.title = whole.format(moment)
  }
}

document.addEventListener('htmx:after:swap', tellTimes)

// If a change removes the focused element, focus its container, so that the keyboard does not start at the top.
let focused = null
document.addEventListener('focusin', (event) => { focused = event.target })
document.addEventListener('pointerdown', () => { focused = null }) // who points gives it away, or to something else
document.addEventListener('htmx:after:swap', (event) => {
  const place = event.detail.ctx.sourceElement
  if (document.activeElement !== document.body || !focused || focused.isConnected || !place.isConnected) return
  place.tabIndex = -1
  place.focus({ preventScroll: true })
})

document.addEventListener('htmx:response:error', (event) => {
  const { response, sourceElement } = event.detail.ctx
  if (response.status === 401) reloadPage('signed_out')
  // The page's object was deleted; the reloaded page says so.
  if (response.status === 404 && sourceElement.dataset.whole !== undefined) reloadPage('gone')
})
setInterval(() => { if (!document.hidden) tellTimes() }, 30000)
for (const element of $$('[data-every]')) {
  // Only while connected: the stream reports the end of an outage.
  setInterval(() => { if (feed?.readyState === EventSource.OPEN) htmx.trigger(element, 'again') }, element.dataset.every * 1000)
}
tellTimes()
follow()
$$('[data-job-log]').forEach(followJob)
