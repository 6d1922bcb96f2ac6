// The pages' own scripts, in the order in which base.html names them: saying things (this file), calls of the JSON API
// (api.js), dialogs and menus (dialogs.js), what changes meanwhile (events.js). They share their names, as one script
// would. Fragments are fetched and morphed by htmx. There is no build step; these files are what browsers get.
'use strict'

const words = JSON.parse(document.getElementById('words').textContent)
const language = document.documentElement.lang
const said = document.getElementById('said')
const faults = document.getElementById('faults')
const banner = document.getElementById('banner')
const $ = (selector, within = document) => within.querySelector(selector)
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)]
let leaving = false // for another page, or to reload this one
const filled = (text, values) => text.replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole)

function say(text) {
  if (text) show(said, text, 7000)
}

function complain(text) {
  show(faults, text, 20000)
}

function show(place, text, milliseconds) {
  const note = document.createElement('div')
  note.className = 'note'
  const sentence = document.createElement('span')
  sentence.textContent = text
  const close = document.createElement('button')
  close.type = 'button'
  close.className = 'quiet'
  close.textContent = '×'
  close.setAttribute('aria-label', words.close)
  close.onclick = () => note.remove()
  note.append(sentence, close)
  place.replaceChildren(note)
  setTimeout(() => note.remove(), milliseconds)
}

// What holds until it is over: that the platform does not answer, or that one is signed out. Nothing takes it away.
function setBanner(what = '') {
  if (banner.dataset.what === what) return
  banner.dataset.what = what
  banner.textContent = words.banner[what] ?? ''
  if (what !== 'signed_out') return
  const link = document.createElement('a')
  link.href = location.pathname
  link.target = '_blank'
  link.textContent = words.sign_in
  banner.append(' ', link)
}

// Reloads an outdated page, but not while the user has unsaved input. After a deletion the user is redirected anyway.
function reloadPage(why) {
  if (leaving || (why === 'gone' && $('[aria-busy=true]'))) return
  if ($$('input, textarea').some(isTyped)) setBanner(why)
  else location.reload()
}

function isTyped(field) {
  return !['checkbox', 'radio', 'hidden'].includes(field.type) && field.checkVisibility() && field.value !== field.defaultValue
}

// What participants can meet has its own words in each language; the API's own sentences are German there.
const plain = ['WORKSHOP_FULL', 'WORKSHOP_OVER', 'TOO_MANY_SEATS', 'ALREADY_CLAIMED', 'WRONG_ACCESS_CODE', 'TOO_MANY_ATTEMPTS', 'UNAUTHORIZED',
  'INVALID_WORKSPACE_PASSWORD', 'offline']

// Other errors of the API are English sentences; readers of another language get those that have a code in theirs, and
// the words for the kind of error in place of all others.
function sentence(answer) {
  const own = words.error[answer.code]
  if (own && plain.includes(answer.code)) return own
  if (language === 'en') return answer.message || answer.error || own || words.error.unknown
  return answer.told?.message || Object.values(answer.told?.details ?? {}).join(' ') || own || words.error.unknown
}

// The text is shown after the reload.
function reload(text = '') {
  leaving = true
  sessionStorage.setItem('said', text)
  location.reload()
}

say(sessionStorage.getItem('said'))
sessionStorage.removeItem('said')
