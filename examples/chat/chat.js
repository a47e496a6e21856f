"use strict";

// The page's side of the chat. What others wrote is only ever put in as text, never as HTML.

const $ = (id) => document.getElementById(id);
const log = $("log"), composer = $("composer"), text = $("text"), send = composer.querySelector("button");
const nameInput = $("name"), welcome = $("welcome"), people = $("people"), toggle = $("people-toggle");

const MAX_SHOWN = 500;          // lines kept in the page
const RETRY_MIN = 500, RETRY_MAX = 15000;  // ms between attempts to connect
const CALM = 5000;              // ms a connection must last before the back-off starts anew

let socket = null, name = "", me = "", retry = RETRY_MIN, retryTimer = 0, online = new Map();
let roomReachable = true;
const shown = new Set();        // ids of the lines in the log

function connect() {
  clearTimeout(retryTimer);
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const mine = new WebSocket(`${scheme}//${location.host}/ws`);
  let calm = 0;
  socket = mine;
  setStatus("waiting", "Connecting…");
  mine.onopen = () => {
    calm = setTimeout(() => { retry = RETRY_MIN; }, CALM);
    mine.send(JSON.stringify({ type: "join", name }));
  };
  mine.onmessage = (event) => { if (mine === socket) handle(JSON.parse(event.data)); };
  mine.onclose = () => {
    clearTimeout(calm);
    if (mine !== socket) return;  // left on purpose, for another name
    ready(false);
    // Full jitter above half: clients of one server do not all come back at once.
    const delay = retry * (0.5 + Math.random() / 2);
    retry = Math.min(RETRY_MAX, retry * 2);
    setStatus("waiting", delay < 1500 ? "Reconnecting…" : `Reconnecting in ${Math.ceil(delay / 1000)} s`);
    retryTimer = setTimeout(connect, delay);
  };
}

function handle(frame) {
  switch (frame.type) {
    case "welcome":
      me = frame.you;
      shown.clear();
      log.replaceChildren();
      frame.lines.forEach((line) => show(line, true));
      online = new Map(Object.entries(frame.people));
      roomReachable = frame.reachable;
      ready(true);
      drawPeople();
      drawStatus();
      toBottom();
      break;
    case "say": case "join": case "leave":
      if (frame.type === "join") online.set(frame.from, frame.name);
      if (frame.type === "leave") online.delete(frame.from);
      show(frame, false);
      if (frame.type !== "say") drawPeople();
      break;
    case "people":
      online = new Map(Object.entries(frame.people));
      drawPeople();
      break;
    case "room":
      roomReachable = frame.reachable;
      note(roomReachable ? "The room is back." : "The room is out of reach; trying again.");
      drawStatus();
      break;
    case "error":
      problem(frame.message);
      if (frame.text && !text.value) { text.value = frame.text; grow(); }
      break;
  }
}

function show(line, quiet) {
  if (shown.has(line.id)) return;
  shown.add(line.id);
  if (line.type !== "say") return append(noteItem(`${line.name} ${line.type === "join" ? "joined" : "left"}`), quiet);
  const item = document.createElement("li"), last = log.lastElementChild;
  item.className = "say";
  item.dataset.from = line.from;
  item.dataset.at = line.at;
  if (line.from === me) item.classList.add("mine");
  const follows = last && last.dataset.from === line.from && line.at - last.dataset.at < 120000;
  if (follows) item.classList.add("follows");
  const at = new Date(line.at), by = document.createElement("div"), when = document.createElement("time");
  by.className = "by";
  when.dateTime = at.toISOString();
  when.textContent = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  by.append(span("who", line.name, hue(line.name)), when);
  const bubble = document.createElement("div");
  bubble.className = "bubble";
  bubble.textContent = line.text;
  item.append(by, bubble);
  append(item, quiet || line.from === me);
  if (line.from === me) toBottom();
}

function append(item, quiet) {
  const following = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  log.append(item);
  while (log.childElementCount > MAX_SHOWN) log.firstElementChild.remove();
  if (quiet) return;
  if (following) toBottom(); else $("newer").hidden = false;
}

function noteItem(words) {
  const item = document.createElement("li");
  item.className = "note";
  item.textContent = words;
  return item;
}

const note = (words) => append(noteItem(words), false);

function toBottom() {
  log.scrollTop = log.scrollHeight;
  $("newer").hidden = true;
}

function drawPeople() {
  const counts = new Map();
  for (const who of online.values()) counts.set(who, (counts.get(who) || 0) + 1);
  const names = [...counts.keys()].sort((a, b) => a.localeCompare(b));
  $("count").textContent = online.size;
  $("names").replaceChildren(...names.slice(0, 100).map((who) => {
    const item = document.createElement("li");
    item.style.setProperty("--hue", hue(who));
    item.append(span("label", who));
    const extra = [who === name ? "you" : "", counts.get(who) > 1 ? `×${counts.get(who)}` : ""].filter(Boolean).join(" ");
    if (extra) item.append(span("extra", extra));
    return item;
  }));
  if (names.length > 100) $("names").append(noteItem(`and ${names.length - 100} more`));
}

function span(className, words, colour) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = words;
  if (colour !== undefined) element.style.setProperty("--hue", colour);
  return element;
}

function hue(words) {
  let sum = 0;
  for (const letter of words) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

function setStatus(state, words) {
  document.body.dataset.state = state;
  $("status-text").textContent = words;
}

function drawStatus() {
  if (roomReachable) setStatus("open", `Connected as ${name}`);
  else setStatus("waiting", "Room out of reach");
}

function ready(on) {
  const focused = document.activeElement === document.body;
  send.disabled = !on;
  text.disabled = false;  // what is being written stays, also while there is no connection
  if (on) problem("");
  if (on && focused && !welcome.open) text.focus();
}

function problem(words) {
  $("problem").textContent = words;
  $("problem").hidden = !words;
}

function grow() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const words = text.value.trim();
  if (!words || send.disabled || socket.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify({ type: "say", text: words }));
  text.value = "";
  problem("");
  grow();
  text.focus();
});

text.addEventListener("input", grow);
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    composer.requestSubmit();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !welcome.open) { people.classList.remove("shown"); toggle.ariaExpanded = "false"; text.focus(); }
});

$("newer").addEventListener("click", () => { toBottom(); text.focus(); });
log.addEventListener("scroll", () => {
  if (log.scrollHeight - log.scrollTop - log.clientHeight < 80) $("newer").hidden = true;
});
toggle.addEventListener("click", () => {
  toggle.ariaExpanded = String(people.classList.toggle("shown"));
});
$("rename").addEventListener("click", () => { nameInput.value = name; welcome.showModal(); nameInput.select(); });
welcome.addEventListener("cancel", (event) => { if (!name) event.preventDefault(); });
$("join").addEventListener("submit", (event) => {
  const wanted = nameInput.value.trim();
  if (!wanted) { event.preventDefault(); return; }
  people.classList.remove("shown");
  if (wanted === name) return;
  name = wanted;
  sessionStorage.setItem("name", name);
  const before = socket;
  socket = null;
  if (before) before.close();
  retry = RETRY_MIN;
  connect();
  setTimeout(() => text.focus(), 0);
});
window.addEventListener("online", () => { if (name && socket && socket.readyState === WebSocket.CLOSED) connect(); });

name = sessionStorage.getItem("name") || "";
if (name) connect(); else welcome.showModal();
