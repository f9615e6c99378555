export const help = `npm run policy -- COMMAND [FLAGS]

Checks policies, publishes them, goes back, and tells what they do. Keeps address sets, bans and purges,
and looks into the cache.

Policies
  check [FILE…]              every problem, found on this machine (policies/*.json);
                             with --env NAME by the gateway there
  diff FILE [--base r5]      what FILE changes in the active revision, or in another one
  diff r1 r2                 what changed between two revisions
      --exit-code            exit code 1 when something did
  push FILE -m MESSAGE       makes FILE the active revision, if nothing was pushed meanwhile
      --base r7              the revision that FILE was made for (the active one)
      --create               only if there is no revision yet
      --yes, -y              do not ask
  pull [--revision r3] [-o FILE]
                             the document as it was pushed
  rollback r3 -m MESSAGE [--base r7] [--yes]
                             makes the content of r3 the active revision
  history [--limit N] [--before r5]
                             the revisions, newest first
  audit [--limit N] [--before ID]
                             every change and every rejected attempt, newest first
  health                     what the gateway acts on; exit code 1 unless it is ok
  explain URL                what would become of a request; nothing is sent or counted
      --method M, --client ADDRESS, -H 'name: value' (again for more)
      --document FILE        by that document; --revision r3 by that revision
  replay LOG [--document FILE | --revision r3]
                             what would have become of recorded requests; - reads the standard input

Addresses
  address IP                 what becomes of an address, and why: sets, bans, rules
  bans [--address IP] [--limit N] [--after NETWORK]
                             who is banned, until when and why
  ban NETWORK -m REASON      bans an address or a prefix
      --for 1h               for so long: s, m, h or d
      --until TIME           or until then, as in RFC 3339
  unban NETWORK [-m MESSAGE] ends a ban
  sets                       the stored address sets, their feeds, and the generations of the last 24 hours
  import NAME FILE           makes FILE the content of a stored set, at most 64 MiB; - reads the standard input
      --format FORMAT        netset, spamhaus_drop, spamhaus_json, aws, google, cloudflare or csv. Told by the
                             beginning of the file where that leaves no doubt, else that of the set's feed,
                             else netset; csv is never guessed
      --column COLUMN        of a csv: a number from 1, or the name in the first line
      --host-bits refuse|mask
                             what happens to 192.0.2.1/24
      --max-change PERCENT   by how much the number of prefixes may change
      --max-prefixes N       how many there may be
      --allow-private        private and special networks may be in it
      -m MESSAGE             why
  refresh NAME               fetches the feed of a set now
  remove-set NAME [-m MESSAGE] [--yes]
                             removes a stored set that the active policy does not name
  rollback-sets GENERATION [-m MESSAGE] [--yes]
                             all sets as they were in an earlier generation

Stored answers
  purge [-m MESSAGE]         what was stored before now is not served any more
      --url URL, --prefix URL, --tag TAG
                             of this URL, of URLs that begin like that, of this tag; again for more, at most 500
      --all [--yes]          all of it
      --soft                 it becomes stale, and may be revalidated
  purges [--limit N] [--before SEQUENCE]
                             what was purged, newest first
  cache URL                  what is stored for a request in the location that answers, without the body
      --method M, -H 'name: value' (again for more)
  warm FILE|-|URL…           has URLs stored there, one a line in a FILE; exit code 1 if one is not
      -H 'name: value'       what selects among the answers; Accept-Encoding is that of browsers

Limits
  limits [--limit N]         the shared counters that are used most
  limits URL | --client IP   what the counters of a request or client say
      --method M, --client ADDRESS, -H 'name: value' (again for more)
      --rule ROUTE/RULE      only that rule
  limits --rule ROUTE/RULE --key header:NAME=VALUE (again for more) [--client IP]
                             what the counter of a rule says whose key holds more than the client
  reset …                    sets back what limits would show; also --counter HEX --rule ROUTE/RULE

  --env NAME       the environment (local: the running npm start)
  --json           the gateway's JSON, as it is
  --timeout N      seconds that a request may take (30; refresh 120). An import may take as long as it gets on,
                   and then so long for the answer (120)
  --help           this text

The address and the token of an environment come from EDGEWEIR_NAME_URL and EDGEWEIR_NAME_TOKEN, or from
~/.config/edgeweir/environments.json (mode 600): {"staging":{"url":"https://…","token":"…"}}

Exit codes: 0 done; 1 the answer is no; 2 wrong usage; 3 not reachable, or not with this token.
`;
