"""Reinforcement learning for language models, as a replication that can be re-run.

Data flows one way:

    problem -> rollout -> reward -> advantage -> loss -> DeepSpeed step -> logged artifact

types       what flows between the parts        seeding     (run, step, problem, sample) -> seed
config      an experiment, strict and frozen    metrics     every logged name and its meaning
tasks       worlds of text: problems, texts     rewards     verifiers, a classifier
advantages, returns, gae, whitening, token_rewards, kl, logprobs, losses, masks
                                                pure tensor maths
exact, bandit, mdp, mdp_views                   small processes, worked out exactly
worlds      episodes of many moves; toys with policies of their own, small enough to enumerate
data        preferences: of people, of a known gold reward; published problems; each with what was
            wrong in them
models      decoders, made here or published    rollout     samplers behind one protocol
tabular     policies small enough to be listed
engine      the only user of DeepSpeed          artifacts   runs on disk
ranks       processes that share one run
files       lines, locks, checkpoints: whole    digests     content hashes
evidence    what runs and commits tell          trainers    short loops over the engine
studies     programs that measure               promotion   runs -> committed evidence
runner      arms x seeds -> processes, nodes    cli         `rl run`, `rl verify`
bench       what a step costs here and elsewhere    box   an untrusted program, isolated

Each layer imports only from those before it; tests/test_layers.py holds it so.
"""
