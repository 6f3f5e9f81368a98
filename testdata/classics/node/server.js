const http = require("http");
const ms = require("ms");

const started = Date.now();
const answer = () => ({ name: "classic-node", user: process.getuid(), up: ms(Date.now() - started) });

if (process.argv.includes("--check")) {
  console.log(JSON.stringify(answer()));
} else {
  http
    .createServer((req, res) => {
      res.setHeader("content-type", "application/json");
      res.end(JSON.stringify(answer()));
    })
    .listen(process.env.PORT || 3000);
}
