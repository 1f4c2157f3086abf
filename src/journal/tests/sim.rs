//! Programs that share one environment, in a world in which everything goes wrong in an order that follows from a seed.
//!
//! The programs are the real ones from the lease down: they take, keep, write and give back. The world decides what becomes
//! of each call to the store, how time passes, and who is killed, held up or cut off. Nothing in it is random but the seed,
//! so a seed that fails fails again.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use super::sim_sky::{Dice, Eyes, Sky};
use super::sim_wire::{Ask, Wire, Wires};
use super::*;
use crate::journal::tenure::Standing;
use crate::objects::Objects;

/// Machines; the last program shares the first one in every second world.
const PROGRAMS: usize = 3;
const STEPS: usize = 1_200;
/// Of these leases, so that a world is small.
pub const LEASE: Duration = Duration::from_secs(60);

type Life = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Program {
    life: Option<Life>,
    actor: Actor,
    held_up_until: Duration,
    cut_off_until: Duration,
}

/// What came of a world.
#[derive(Debug, Default)]
pub struct Outcome {
    pub entries: usize,
    pub takeovers: usize,
    /// Of these, from a holder that was only silent; and of those, with something open.
    pub expired: usize,
    pub on_a_word: usize,
    /// Entries that arrived after their program had been killed or had given up waiting.
    pub late: usize,
    pub kills: usize,
    pub refused: usize,
    /// Worlds in which the last holder was proven dead when somebody wanted the lease in the end, or had given it back.
    pub proven: usize,
    /// How long that one waited at most then, and in all other worlds.
    pub waited: [Duration; 2],
}

impl Outcome {
    pub fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.takeovers += other.takeovers;
        self.expired += other.expired;
        self.on_a_word += other.on_a_word;
        self.late += other.late;
        self.kills += other.kills;
        self.refused += other.refused;
        self.proven += other.proven;
        self.waited = [0, 1].map(|of| self.waited[of].max(other.waited[of]));
    }
}

pub struct World {
    dice: Dice,
    sky: Arc<Mutex<Sky>>,
    wires: Wires,
    dir: tempfile::TempDir,
    identity: Identity,
    programs: Vec<Program>,
    /// Calls that arrive when nobody waits for them any more.
    late: Vec<Ask>,
    pid: u32,
    outcome: Outcome,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let wires = Wires::default();
        let identity = identity();
        let bytes = serde_json::to_vec_pretty(&identity).expect("json");
        wires.carry_out(&Ask::Create("identity.json".to_owned(), bytes));
        let sky = Arc::new(Mutex::new(Sky { tenures: vec![None; PROGRAMS + 1], ..Sky::default() }));
        let dir = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let mut world = Self {
            dice: Dice::new(seed),
            sky,
            wires,
            dir,
            identity,
            programs: vec![],
            late: vec![],
            pid: 1,
            outcome: Outcome::default(),
        };
        for of in 0..PROGRAMS {
            let machine = if of == PROGRAMS - 1 && seed.is_multiple_of(2) { 0 } else { of };
            world.programs.push(Program {
                life: None,
                actor: Actor { host: format!("m{machine}"), boot: format!("boot-m{machine}"), ..Actor::here() },
                held_up_until: Duration::ZERO,
                cut_off_until: Duration::ZERO,
            });
            world.start(of, Word::None);
        }
        world
    }

    /// A new process of a program.
    fn start(&mut self, of: usize, word: Word) {
        self.pid += 1;
        let program = &mut self.programs[of];
        program.actor.pid = self.pid;
        let actor = program.actor.clone();
        let dir = self.dir.path().join(of.to_string());
        std::fs::create_dir_all(&dir).expect("made");
        let state = Workspace::open(&dir).expect("a workspace").state("dev");
        let offset = Duration::from_secs(1_000 * (of as u64 + 1));
        let eyes = Eyes { sky: Arc::clone(&self.sky), machine: actor.host.clone(), offset };
        let objects: Arc<dyn Objects> = Arc::new(Wire { of, wires: self.wires.clone() });
        let shared = Shared { objects, vantage: Arc::new(eyes), ttl: LEASE };
        let dice = Dice::new(self.dice.below(u64::MAX));
        let sky = Arc::clone(&self.sky);
        let identity = self.identity.clone();
        program.life = Some(Box::pin(async move {
            let lived = live(of, &state, &shared, &actor, &identity, word, dice, &sky).await;
            let mut sky = sky.lock().expect("sky");
            sky.tenures[of] = None;
            sky.refused += usize::from(lived.is_err());
            sky.dead.insert((actor.host.clone(), actor.pid));
        }));
    }

    fn now(&self) -> Duration {
        self.sky.lock().expect("sky").now
    }

    /// Lets everything go wrong, then nothing, and looks at what was written.
    pub fn run(mut self) -> Outcome {
        for _ in 0..STEPS {
            self.disturb();
            self.step();
        }
        self.calm();
        self.judge();
        self.outcome
    }

    fn disturb(&mut self) {
        let of = usize::try_from(self.dice.below(PROGRAMS as u64)).expect("an index");
        let until = self.now() + Duration::from_secs(self.dice.below(400));
        match self.dice.below(100) {
            0 => self.kill(of),
            1..=2 => self.programs[of].held_up_until = until,
            3..=4 => self.programs[of].cut_off_until = until,
            5..=8 => self.arrive_late(),
            9..=36 => self.sky.lock().expect("sky").now += Duration::from_millis(self.dice.below(5_000)),
            _ => {}
        }
        if self.programs[of].life.is_none() && self.dice.below(15) == 0 {
            let word = if self.dice.below(4) == 0 { Word::Given } else { Word::None };
            self.start(of, word);
        }
    }

    fn kill(&mut self, of: usize) {
        let program = &mut self.programs[of];
        if program.life.take().is_none() {
            return;
        }
        self.outcome.kills += 1;
        let (host, pid) = (program.actor.host.clone(), program.actor.pid);
        let mut sky = self.sky.lock().expect("sky");
        sky.tenures[of] = None;
        sky.dead.insert((host, pid));
        drop(sky);
        for ask in self.wires.forget(of) {
            if self.dice.below(2) == 0 {
                self.late.push(ask);
            }
        }
    }

    fn arrive_late(&mut self) {
        let count = self.late.len() as u64;
        if count > 0 {
            let ask = self.late.swap_remove(usize::try_from(self.dice.below(count)).expect("an index"));
            let answer = self.wires.carry_out(&ask);
            let has_landed = matches!(answer, super::sim_wire::Answer::Tag(Some(_)));
            self.outcome.late += usize::from(ask.is_entry() && has_landed);
        }
    }

    /// Decides on some calls, then lets every program that can go on do so.
    fn step(&mut self) {
        let now = self.now();
        let open: Vec<usize> = {
            let calls = self.wires.calls();
            let open = calls.iter().enumerate().filter(|(_, call)| {
                call.as_ref().is_some_and(|call| call.answer.is_none() && self.programs[call.of].held_up_until <= now)
            });
            open.map(|(number, _)| number).collect()
        };
        for number in open {
            if self.dice.below(2) == 0 {
                self.decide(number, now);
            }
        }
        for of in 0..PROGRAMS {
            if self.programs[of].held_up_until > self.now() {
                continue;
            }
            if let Some(life) = &mut self.programs[of].life
                && life.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
            {
                self.programs[of].life = None;
            }
        }
        self.one_believes();
    }

    fn decide(&mut self, number: usize, now: Duration) {
        let (of, ask) = {
            let calls = self.wires.calls();
            let call = calls[number].as_ref().expect("open");
            (call.of, call.ask.clone())
        };
        let lost = || Err(Failure::new(Exit::Platform, "no answer").transient());
        let answer = match self.dice.below(100) {
            _ if self.programs[of].cut_off_until > now => lost(),
            // A look is repeated until it is answered; what is written may be done or not.
            1.. if ask.is_look() => Ok(self.wires.carry_out(&ask)),
            0..=2 => lost(),
            3..=5 => {
                self.wires.carry_out(&ask);
                lost()
            }
            6..=8 => {
                self.late.push(ask);
                lost()
            }
            9..=11 => {
                self.wires.carry_out(&ask);
                Ok(self.wires.carry_out(&ask))
            }
            _ => Ok(self.wires.carry_out(&ask)),
        };
        self.wires.calls()[number].as_mut().expect("open").answer = Some(answer);
    }

    /// Never do two programs believe at the same time that they hold the lease.
    fn one_believes(&self) {
        let tenures = self.sky.lock().expect("sky").tenures.clone();
        let believers = tenures.iter().flatten().filter(|tenure| tenure.standing() != Standing::Lost).count();
        assert!(believers <= 1, "{believers} programs believe that they hold the lease");
    }

    /// Nothing goes wrong any more: somebody with a person's word gets the lease and writes.
    fn calm(&mut self) {
        (0..PROGRAMS).for_each(|of| self.kill(of));
        while !self.late.is_empty() {
            self.arrive_late();
        }
        let before = self.wires.calls().len();
        let deed =
            futures_util::FutureExt::now_or_never(LeaseDeed::read(&self.wires.store)).expect("memory does not wait");
        let held = deed.expect("read").and_then(|(deed, _)| deed.held);
        let is_proven = held.is_none_or(|held| held.holder.actor.host == self.programs[0].actor.host);
        self.start(0, Word::Given);
        self.programs[0].held_up_until = Duration::ZERO;
        let began = self.now();
        let (mut steps, mut waited) = (0, None);
        while self.programs[0].life.is_some() {
            steps += 1;
            assert!(steps < 20_000, "nobody can go on in this environment");
            let is_held = self.sky.lock().expect("sky").tenures[0].is_some();
            if is_held && waited.is_none() {
                waited = Some(self.now() - began);
            }
            let open: Vec<usize> = {
                let calls = self.wires.calls();
                (before..calls.len())
                    .filter(|number| calls[*number].as_ref().is_some_and(|it| it.answer.is_none()))
                    .collect()
            };
            // Answers come at once: what passes is what is waited for.
            if open.is_empty() {
                self.sky.lock().expect("sky").now += Duration::from_millis(500);
            }
            for number in open {
                let ask = self.wires.calls()[number].as_ref().expect("open").ask.clone();
                let answer = self.wires.carry_out(&ask);
                self.wires.calls()[number].as_mut().expect("open").answer = Some(Ok(answer));
            }
            let life = self.programs[0].life.as_mut().expect("alive");
            if life.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                self.programs[0].life = None;
            }
        }
        let took = self.now() - began;
        // Beside that its own run has up to ten waits of up to a minute.
        assert!(took < LEASE * 12, "it took {took:?}");
        self.no_longer_than_the_lease(is_proven, waited.expect("it held the lease"));
    }

    /// Whoever comes after a holder that is proven dead does not wait at all; after one that is only silent, as long as its
    /// lease lasts and a look more.
    fn no_longer_than_the_lease(&mut self, is_proven: bool, waited: Duration) {
        let most = if is_proven { Duration::from_secs(1) } else { LEASE + LEASE / 20 };
        assert!(waited <= most, "it waited {waited:?} for a lease whose holder is dead, proven: {is_proven}");
        self.outcome.proven += usize::from(is_proven);
        self.outcome.waited[usize::from(!is_proven)] = waited;
    }

    /// What the journal must show.
    fn judge(&mut self) {
        let store = SharedStore::new(Arc::new(self.wires.store.clone()), self.identity.id);
        let opened = futures_util::FutureExt::now_or_never(Journal::open(Box::new(store), &self.identity));
        let journal = opened.expect("memory does not wait").expect("intact");
        let mut writer = None;
        let mut open: BTreeSet<String> = BTreeSet::new();
        for entry in journal.entries() {
            let actor = (entry.actor.host.clone(), entry.actor.pid);
            match &entry.record {
                Record::Lease(claim) => {
                    self.outcome.takeovers += usize::from(claim.how != "free");
                    self.outcome.expired += usize::from(claim.how.contains("not heard of"));
                    self.outcome.on_a_word += usize::from(!open.is_empty() && claim.how.contains("--take-over"));
                    let is_sure = claim.how == "free" || claim.how.contains("has ended");
                    assert!(
                        open.is_empty() || is_sure || claim.how.contains("--take-over"),
                        "entry {}: taken over ({}) with {open:?} open",
                        entry.number,
                        claim.how
                    );
                    open.clear();
                    writer = Some((entry.epoch, actor.clone()));
                }
                Record::Intent(intent) => drop(open.insert(intent.step.clone().unwrap_or_default())),
                Record::Outcome(settled) => drop(open.remove(&settled.step.clone().unwrap_or_default())),
                _ => {}
            }
            assert_eq!(writer, Some((entry.epoch, actor)), "entry {} of another writer in its epoch", entry.number);
        }
        assert!(journal.entries().last().is_some_and(|last| matches!(last.record, Record::RunEnded { .. })));
        self.outcome.entries = journal.entries().len();
        self.outcome.refused = self.sky.lock().expect("sky").refused;
    }
}

/// One process from its start to its end: a run of a few steps under the lease.
#[expect(clippy::too_many_arguments, reason = "all that a process is given")]
async fn live(
    of: usize,
    state: &StateDir,
    shared: &Shared,
    actor: &Actor,
    identity: &Identity,
    word: Word,
    mut dice: Dice,
    sky: &Mutex<Sky>,
) -> Result<(), Failure> {
    let lease = Lease::take_unkept(state, shared, actor.clone(), word).await?;
    let tenure = Arc::clone(lease.tenure().expect("a tenure"));
    sky.lock().expect("sky").tenures[of] = Some(Arc::clone(&tenure));
    let work = async {
        let store = SharedStore::new(Arc::clone(&shared.objects), identity.id);
        let mut journal = Journal::open(Box::new(store), identity).await?;
        let run = journal.memory().next_run();
        let begun = Record::RunStarted { command: "up dev".to_owned(), program: "0".to_owned(), plan: None };
        journal.append(&lease, run, begun).await?;
        for step in 0..dice.below(6) {
            let step = format!("{of}-{step}");
            journal.append(&lease, run, intent(Some(&step), Deed::Make)).await?;
            shared.vantage.sleep(Duration::from_millis(dice.below(60_000))).await;
            journal.append(&lease, run, settled(Some(&step), Deed::Make, crate::event::Outcome::Succeeded)).await?;
            shared.vantage.sleep(Duration::from_millis(dice.below(60_000))).await;
        }
        let ended = Record::RunEnded { outcome: crate::event::Outcome::Succeeded, why: None };
        journal.append(&lease, run, ended).await.map(drop)
    };
    let worked = tokio::select! {
        biased;
        worked = work => worked,
        () = tenure.keep() => Err(Failure::new(Exit::Held, "the lease was lost")),
    };
    lease.give_back().await?;
    worked
}
