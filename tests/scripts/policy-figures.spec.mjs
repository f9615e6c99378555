// What the commands about addresses read and show: formats by their beginning, networks, figures.
import assert from "node:assert/strict";
import { appendFileSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { guessFormat } from "../../scripts/lib/list-format.mjs";
import { openList } from "../../scripts/lib/list-file.mjs";
import { requireAddress, requireNetwork } from "../../scripts/lib/networks.mjs";
import { progress } from "../../scripts/lib/progress.mjs";
import { answers, list, maybe, number, object, text } from "../../scripts/lib/shape.mjs";
import { columns, lines } from "../../scripts/lib/table.mjs";
import {
  bytes,
  count,
  counted,
  distance,
  moment,
  parseSpan,
  parseTime,
} from "../../scripts/lib/units.mjs";
import { scratch } from "./helpers.mjs";

const guess = (head) => guessFormat(Buffer.from(head))?.format;

describe("the format of a list", () => {
  it("is told by a beginning that can be no other", () => {
    for (const [head, format] of [
      ['{"cidr":"1.10.16.0/20","sblid":"SBL256894","rir":"apnic"}\n{"cidr":', "spamhaus_json"],
      ['\ufeff\n {"cidr": "2001:db8::/32"}', "spamhaus_json"],
      ['{\n "syncToken": "1",\n "prefixes": [\n {\n  "ip_prefix": "3.4.12.4/32",', "aws"],
      ['{"prefixes":[],"ipv6_prefixes":[{"ipv6_prefix" :"2600::/24"}]}', "aws"],
      ['{"syncToken":"1","prefixes":[{"ipv6Prefix": "2001:4860:4801:10::/64"}, {', "google"],
      ['{"prefixes":[{"ipv4Prefix":"34.1.208.0/20"}]}', "google"],
      ['{"result":{"ipv4_cidrs":["173.245.48.0/20"],"ipv6_cidrs":[]}}', "cloudflare"],
      ["; Spamhaus DROP List 2026/11/28 - (c) 2026\n1.10.16.0/20 ; SBL256894", "spamhaus_drop"],
      ["; Spamhaus EDROP List 2026\n", "spamhaus_drop"],
    ]) {
      assert.equal(guess(head), format, head);
    }
  });

  it("is not guessed where it could be another", () => {
    for (const head of [
      "192.0.2.0/24\n198.51.100.0/24\n",
      "# a netset\n192.0.2.0/24\n",
      "; a list of ours, not from Spamhaus\n192.0.2.0/24",
      "ip,country\n192.0.2.1,XX\n",
      "192.0.2.1,XX\n",
      "[]",
      "{}",
      '{"hooks":["192.0.2.0/24"]}',
      '{"asn":213790,"rir":"ripencc","domain":"example.com"}',
      '{"note":"no \\"ip_prefix\\": here","prefixes":[]}',
      '{"prefixes":[{"ip_prefix":"3.4.12.4/32"},{"ipv4Prefix":"34.1.208.0/20"}]}',
      '{"cidr": 1}',
      "<html><body>maintenance</body></html>",
      "",
    ]) {
      assert.equal(guess(head), undefined, head);
    }
  });
});

describe("a list file", () => {
  const read = async (path) => {
    const opened = await openList(path);
    try {
      let all = "";
      for await (const chunk of opened.chunks()) all += chunk.toString();
      return { all, opened };
    } finally {
      await opened.close();
    }
  };

  it("is read in pieces, all of it and its beginning", async (test) => {
    for (const size of [1, 65_535, 65_536, 65_537, 200_000]) {
      const path = join(scratch(test), "list");
      const content = "x".repeat(size - 1) + "\n";
      writeFileSync(path, content);
      const { all, opened } = await read(path);
      assert.equal(all, content);
      assert.equal(opened.size, size);
      assert.equal(opened.head.toString(), content.slice(0, 65_536));
    }
  });

  it("that changes while it is sent is not sent to its end", async (test) => {
    for (const alter of [
      (path) => appendFileSync(path, "192.0.2.0/24\n"),
      (path) => truncateSync(path, 10),
      (path) => writeFileSync(path, "y".repeat(100_000)),
    ]) {
      const path = join(scratch(test), "list");
      writeFileSync(path, "x".repeat(100_000));
      // Long ago: file systems do not tell two changes within milliseconds apart.
      utimesSync(path, 1_000_000, 1_000_000);
      const opened = await openList(path);
      let sent = 0;
      await assert.rejects(async () => {
        for await (const chunk of opened.chunks()) {
          if (sent === 0) alter(path);
          sent += chunk.length;
        }
      }, /was changed while it was sent; nothing was imported\.$/);
      assert.ok(sent < 100_000);
      await opened.close();
    }
  });
});

describe("a network", () => {
  it("is an address or a prefix without host bits", () => {
    for (const good of [
      "192.0.2.7",
      "192.0.2.7/32",
      "192.0.2.0/24",
      "0.0.0.0/0",
      "128.0.0.0/1",
      "2001:db8::7",
      "2001:db8:1::/48",
      "2001:DB8::/32",
      "::/0",
      "::ffff:192.0.2.0/120",
      "1:2:3:4:5:6:7:8/128",
    ]) {
      assert.equal(requireNetwork(good, "ban"), good);
    }
  });

  it("with host bits names the one that is meant", () => {
    for (const [text, right] of [
      ["192.0.2.7/24", "192.0.2.0/24"],
      ["255.255.255.255/1", "128.0.0.0/1"],
      ["1.2.3.4/0", "0.0.0.0/0"],
      ["2001:db8::7/32", "2001:db8::/32"],
      ["2001:db8:1:2:3:4:5:6/64", "2001:db8:1:2::/64"],
      ["2001:db8:0:1::1/49", "2001:db8::/49"],
      ["::ffff:192.0.2.7/120", "::ffff:c000:200/120"],
      ["ffff::1/127", "ffff::/127"],
    ]) {
      assert.throws(
        () => requireNetwork(text, "ban"),
        (error) => {
          assert.equal(error.exitCode, 2);
          assert.ok(error.message.includes(`Give ${right} for the network`), error.message);
          assert.ok(error.message.includes(`or ${text.split("/")[0]} for`), error.message);
          return true;
        },
      );
    }
  });

  it("is nothing else", () => {
    for (const bad of [
      ...["", "x", "192.0.2", "192.0.2.256", "192.0.02.1", "192.0.2.0/", "192.0.2.0/33"],
      ...["192.0.2.0/024", "192.0.2.0/+8", "192.0.2.0/8/8", "192.0.2.0 /24", "2001:db8::/129"],
      ...["fe80::1%eth0", "2001:db8", ":::", "192.0.2.1-192.0.2.9", "10", "\u001b[2J"],
    ]) {
      assert.throws(() => requireNetwork(bad, "ban"), { exitCode: 2 }, bad);
    }
    for (const bad of ["192.0.2.0/24", "fe80::1%eth0", "", "localhost"]) {
      assert.throws(() => requireAddress(bad, "address"), { exitCode: 2 }, bad);
    }
    assert.equal(requireAddress("::1", "address"), "::1");
  });
});

describe("figures", () => {
  it("counts have their thousands grouped, and their noun", () => {
    assert.equal(count(1_234_567), "1,234,567");
    assert.equal(count(0), "0");
    assert.equal(count(-1_180), "-1,180");
    assert.equal(counted(1, "prefix", "prefixes"), "1 prefix");
    assert.equal(counted(1_200, "prefix", "prefixes"), "1,200 prefixes");
  });

  it("sizes are binary", () => {
    assert.deepEqual([0, 512, 43_210, 3 << 20].map(bytes), ["0 B", "512 B", "42.2 KiB", "3.0 MiB"]);
  });

  it("distances are in their largest unit", () => {
    const now = 1_000_000_000_000;
    for (const [ago, wanted] of [
      [0, "now"],
      [999, "now"],
      [1_000, "1 s ago"],
      [59_999, "59 s ago"],
      [60_000, "1 min ago"],
      [3 * 3_600_000, "3 h ago"],
      [86_400_000, "1 d ago"],
      [-59_000, "in 59 s"],
      [-2_000 * 86_400_000, "in 2,000 d"],
    ]) {
      assert.equal(distance(now - ago, now), wanted);
    }
  });

  it("times are those of RFC 3339, and no other", () => {
    const at = Date.parse("2026-11-28T03:00:00Z");
    for (const same of [
      "2026-11-28T03:00:00Z",
      "2026-11-28T03:00:00.000Z",
      "2026-11-28t03:00:00z",
      "2026-11-28T04:30:00+01:30",
      "2026-11-27T22:00:00-05:00",
      "2026-11-28T03:00:00.0009Z",
    ]) {
      assert.equal(parseTime(same), at, same);
    }
    for (const none of [
      ...["", "tomorrow", "2026-11-28", "2026-11-28T03:00:00", "2026-11-28 03:00:00Z"],
      ...["2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-28T24:00:00Z"],
      ...["2026-11-28T03:60:00Z", "2026-11-28T03:00:60Z", "2026-11-28T03:00:00+24:00"],
      ...["2026-11-28T03:00:00.Z", "2026-11-28T03:00Z", "1764298800"],
    ]) {
      assert.equal(parseTime(none), undefined, none);
    }
    assert.equal(
      moment("2026-11-28T03:00:00.123Z", at + 3 * 3_600_123),
      "2026-11-28T03:00:00Z (3 h ago)",
    );
    assert.equal(moment("soon\u001b[1m", at), "soon\\u{1b}[1m");
  });

  it("spans are those of policies", () => {
    assert.deepEqual(["250ms", "90s", "15m", "1h", "366d"].map(parseSpan), [
      ...[250, 90_000, 900_000, 3_600_000, 366 * 86_400_000],
    ]);
    for (const none of ["", "1", "h", "1 h", "1.5h", "-1h", "0s", "367d", "1w", "1h30m", "1H"]) {
      assert.equal(parseSpan(none), undefined, none);
    }
  });

  it("stand in columns, printable, and none pushes the others away", () => {
    assert.deepEqual(
      lines(
        [
          ["name", "n", "x"],
          ["a\u001b[2J", "1,200", undefined],
        ],
        { right: [1] },
      ),
      ["name            n  x", "a\\u{1b}[2J  1,200"],
    );
    const [[cell, last]] = columns([["y".repeat(1_000), "z".repeat(1_000)]]);
    assert.equal(cell.length, 100);
    assert.equal(last.length, 1_000);
    assert.deepEqual(lines([]), []);
  });

  it("an answer has its shape, or is somebody else's", () => {
    const known = answers(object({ sets: list(object({ name: text, n: maybe(number) })) }));
    for (const good of [
      { sets: [] },
      { sets: [{ name: "a", more: {} }], more: 1 },
      {
        sets: [
          { name: "a", n: null },
          { name: "b", n: 1 },
        ],
      },
    ]) {
      assert.ok(known({ json: good }), JSON.stringify(good));
    }
    for (const bad of [
      ...[null, undefined, [], "x", 1, {}, { sets: {} }, { sets: [null] }, { sets: ["a"] }],
      ...[{ sets: [{}] }, { sets: [{ name: 1 }] }, { sets: [{ name: "a", n: "1" }] }],
    ]) {
      assert.equal(known({ json: bad }), false, JSON.stringify(bad));
    }
  });
});

describe("the progress of an upload", () => {
  const play = (isTTY, steps) => {
    const written = [];
    const stream = { isTTY, write: (chunk) => written.push(chunk) };
    let time = 0;
    const shown = progress(100 << 20, { stream, clock: () => time });
    for (const [at, done] of steps) {
      time = at;
      shown.sent(done);
    }
    shown.end();
    return written;
  };

  it("is one line that changes on a terminal, and is gone at the end", () => {
    const written = play(true, [
      [500, 10 << 20],
      [1_000, 20 << 20],
      [1_050, 21 << 20],
      [1_200, 25 << 20],
      [1_250, 100 << 20],
    ]);
    assert.deepEqual(written, [
      "\r\u001b[K   20.0 MiB of 100.0 MiB sent (20 %, 20.0 MiB/s)",
      "\r\u001b[K   25.0 MiB of 100.0 MiB sent (25 %, 20.8 MiB/s)",
      "\r\u001b[K   100.0 MiB sent; the gateway reads it",
      "\r\u001b[K",
    ]);
  });

  it("is a line every ten seconds elsewhere, and none of what is quick", () => {
    assert.deepEqual(
      play(false, [
        [1_000, 1 << 20],
        [10_000, 50 << 20],
        [15_000, 75 << 20],
        [21_000, 100 << 20],
      ]),
      [
        "   50.0 MiB of 100.0 MiB sent (50 %, 5.0 MiB/s)\n",
        "   100.0 MiB sent; the gateway reads it\n",
      ],
    );
    assert.deepEqual(play(false, [[900, 100 << 20]]), []);
    assert.deepEqual(play(true, [[900, 100 << 20]]), []);
  });
});
