// A Node server of several processes or threads. WAY says who serves a request:
//
//   passed   the first process accepts, and passes the connection on over a Unix socket (SCHED_RR)
//   shared   each process accepts on the one listener (SCHED_NONE)
//   threads  the one process, which has its work done by worker threads
//
// GET /touch/N writes to N fresh pages and answers with the process that did. Prints "worker PID" for each process,
// then "listening on PORT". malloc hands out mapped memory with MALLOC_MMAP_THRESHOLD_=16384.
'use strict';

const cluster = require('node:cluster');
const http = require('node:http');
const { Worker, isMainThread, parentPort } = require('node:worker_threads');

const WAY = process.env.WAY;
const WORKERS = 3;
const PAGE = 4096;

function touch(pages) {
  const buffer = Buffer.allocUnsafeSlow(pages * PAGE);
  for (let at = 0; at < buffer.length; at += PAGE) buffer[at] = 1;
}

function serve(work) {
  const server = http.createServer((request, response) => {
    const pages = Number(request.url.split('/')[2]);
    work(pages, () => response.end(JSON.stringify({ pid: process.pid })));
  });
  server.listen(Number(process.env.PORT ?? 0), '127.0.0.1');
  return server;
}

function direct(pages, answer) {
  touch(pages);
  answer();
}

// A pool: each job goes to the next thread, and its answer comes back by its number.
function pool() {
  const waiting = new Map();
  let number = 0;
  const threads = Array.from({ length: WORKERS }, () => {
    const thread = new Worker(__filename);
    thread.on('message', (done) => {
      const answer = waiting.get(done);
      waiting.delete(done);
      answer();
    });
    return thread;
  });
  return (pages, answer) => {
    number += 1;
    waiting.set(number, answer);
    threads[number % WORKERS].postMessage({ number, pages });
  };
}

if (!isMainThread) {
  parentPort.on('message', ({ number, pages }) => {
    touch(pages);
    parentPort.postMessage(number);
  });
} else if (WAY === 'threads') {
  const server = serve(pool());
  server.on('listening', () => console.log(`listening on ${server.address().port}`));
} else if (cluster.isPrimary) {
  cluster.schedulingPolicy = WAY === 'passed' ? cluster.SCHED_RR : cluster.SCHED_NONE;
  let listening = 0;
  cluster.on('listening', (worker, address) => {
    console.log(`worker ${worker.process.pid}`);
    listening += 1;
    if (listening === WORKERS) console.log(`listening on ${address.port}`);
  });
  for (let n = 0; n < WORKERS; n += 1) cluster.fork();
} else {
  serve(direct);
}
