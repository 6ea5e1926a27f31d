"""The configuration of a run: every field, its default, its unit and where the paper has it.

A file under `configs/` calls `base_config()` and overrides what is particular to its dataset.
"""

from ml_collections import config_dict


def base_config() -> config_dict.ConfigDict:
    """Returns the paper's setting (section 4.1) with every field that a run reads.

    It is locked: a mistyped field in a configuration file raises, as it does on the command line.
    """
    config = config_dict.ConfigDict()
    config.method = 'qcrd'  # finetune | single_task | dss | mi | qcrd | mi_qcrd (4.1, A.4)
    # or a rival: redi | spin | dpo | simpo | orpo | kto | unlikelihood | advdistill
    config.seed = 0  # of initialisation, data order, dropout and sampling

    config.data = _data()
    config.student = _student()
    config.lora = _lora()
    config.discriminator = _discriminator()
    config.negatives = _negatives()
    config.loss = _loss()
    config.mi = _mi()
    config.preference = _preference()
    config.optimizer = _optimizer()
    config.train = _train()
    config.mesh = _mesh()
    config.evaluation = _evaluation()
    config.teacher = _teacher()
    config.judge = _judge()
    config.pairs = _pairs()
    config.reproduce = _reproduce()
    return config.lock()


def _data() -> config_dict.ConfigDict:
    data = config_dict.ConfigDict()
    data.name = 'svamp'  # svamp | cqa | anli1 | esnli | mwp | custom (docs/datasets.md)
    data.source = ''  # folder in the DSS layout, or a JSONL of questions; '': the official download
    data.release = 'dss'  # what to download: dss (with PaLM's answers) | original (without)
    data.teacher_samples = ''  # JSONL of raw teacher answers; '': those that `source` brings
    data.answer_type = 'text'  # equation | choice | class | text; read of a custom dataset
    data.classes = ('entailment', 'neutral', 'contradiction')  # of custom answers of type class
    data.cache = ''  # folder of the prepared dataset; '': <workdir>/data
    data.samples = 5  # K, teacher samples used per question (section 4.1)
    data.leaks = 'keep'  # keep | drop: training questions that stand in validation or test word for
    # word; the released splits are kept as they are by default
    data.folds = 0  # parts for cross-validation: all questions are pooled, each part is the test
    # set once; 0: the released splits
    data.fold = 0  # which of them is the test set, 0 to folds - 1; `reproduce` runs all of them
    data.fraction = 1.0  # share of the training questions that is used (Fig. 4)
    data.positives = 'self_consistency'  # self_consistency | gold (section 3.2.1) | first: the
    # teacher's first rationale, right or wrong, as the baselines have it (no ED in Table 4)
    data.labels = 'gold'  # gold | teacher | self_consistency: an LLM's labels to train on (Table 3)
    data.augment = True  # balance the classes with corrupted negatives when D is pretrained (A.3)
    data.tagger = 'rules'  # rules | stanza: what finds the words to mask and replace (A.3)
    data.prefixes = ('predict: ', 'explain: ')  # of the two tasks (section 3.1, as DSS writes them)
    data.max_source_length = 1024  # tokens; longer questions are cut, counted and reported
    data.max_label_length = 256  # tokens
    data.max_rationale_length = 256  # tokens
    data.length_bucket = 8  # tokens; batch shapes are rounded up to a multiple of it

    mwp = data.mwp = config_dict.ConfigDict()  # only read by the synthetic dataset `mwp`
    mwp.train = 20000  # problems
    mwp.validation = 200  # problems
    mwp.test = 500  # problems
    mwp.seed = 0  # of the problems and of the teacher's slips; independent of the run's seed
    mwp.max_number = 99  # largest number in a question
    mwp.two_step = 0.25  # share of problems that take two operations
    mwp.distractors = 0.25  # share of problems with a number that is not needed
    mwp.operations = '+-*/'  # the operations that occur
    mwp.stories = 4  # stories per operation at most, of 16; per pair of operations at most 1 in 4
    mwp.first_story = 0  # the place of the first of them, 0 to 15; 4 and on are not in the default
    mwp.teacher_temperature = 0.7  # the noisy teacher slips more often when it is hotter
    return data


def _student() -> config_dict.ConfigDict:
    student = config_dict.ConfigDict()
    student.size = 'base'  # of random weights (`pretrained` is ''): tiny, or of T5 small | base |
    # large | xl; of decoders: models.architectures.SIZES lists them
    student.version = 'v1.0'  # of random weights, here or of the discriminator: T5's v1.0 (ReLU,
    # tied head) | v1.1 | qwen2.5 | qwen3 | llama3 | smollm2 | mistral
    student.pretrained = 't5-base'  # folder, .gguf file or Hub id; '': random weights
    student.tokenizer = ''  # as `pretrained`; '': that of `pretrained`, else trained on the data
    student.vocab_size = 8000  # pieces at most, when the tokenizer is trained on the data
    student.split_digits = True  # in a trained tokenizer; False: frequent numbers are one piece
    student.dropout = 0.1  # rate, as DSS's trainer had
    student.compute_dtype = 'auto'  # float32 | bfloat16 | auto (bfloat16 on accelerators)
    return student


def _lora() -> config_dict.ConfigDict:
    lora = config_dict.ConfigDict()
    lora.rank = 0  # r of low-rank adapters beside the frozen weights of a pretrained decoder-only
    # student, which are trained in their place (Hu et al. 2022); 0: all weights are trained
    lora.alpha = 16.0  # their products are multiplied by alpha / r
    lora.targets = 'all'  # attention | all: matrices with an adapter (all: the feed-forward's too)
    return lora


def _discriminator() -> config_dict.ConfigDict:
    discriminator = config_dict.ConfigDict()
    discriminator.pretrained = 'student'  # as student.pretrained (A.3: t5-base) | 'student': the
    # student's initial encoder, or body | '': random weights
    discriminator.size = 'base'  # as student.size; read when `pretrained` is ''
    discriminator.frozen = False  # only the head learns, on the encoder as it is
    discriminator.pretrain_steps = 500  # at most (A.3)
    discriminator.batch_size = 8  # questions per pretraining step
    discriminator.learning_rate = 5e-5  # AdamW, linear decay to zero over the pretraining
    discriminator.online_learning_rate = 5e-5  # of the updates while the student trains; constant
    discriminator.update_every = 100  # optimiser steps between online updates; 0: never (3.3.1)
    discriminator.decay_every = 'update'  # update | step: when alpha_disc is multiplied
    discriminator.holdout = 0.1  # share of the training questions kept for measuring the ROC-AUC
    discriminator.scores = 'discriminator'  # discriminator | gold (1 where a rationale
    # arrives at the gold answer, else 0) | samples (`score` of the teacher's answers, else 0)
    discriminator.weigh = True  # weigh the rationales by their scores (the Quality Judge, Table 4)
    return discriminator


def _negatives() -> config_dict.ConfigDict:
    negatives = config_dict.ConfigDict()
    negatives.source = 'ring'  # ring | fixed | self_consistency | none (A.2, Table A3)
    negatives.fixed = ''  # folder of the student that source `fixed` samples; '': theta_0
    negatives.lag = 5  # j, iterations between the student and its generator (A.2)
    negatives.interval = 1  # I, optimiser steps per iteration
    negatives.temperature = 1.5  # of the sampled negatives; 0: greedy (section 4.1, Table A6)
    negatives.count = 1  # k, negatives sampled per question (Table 6)
    negatives.max_length = 0  # tokens; 0: as long as the longest rationale of the data
    negatives.ring_dtype = 'auto'  # float32 | bfloat16 | auto (that of compute_dtype: same samples)
    negatives.together = True  # sample for lag * interval steps at once: same numbers, fewer loops
    return negatives


def _loss() -> config_dict.ConfigDict:
    loss = config_dict.ConfigDict()
    loss.alpha_pred = 0.5  # alpha_1 of eq. 8; DSS: weight of the label, 1 - it of the rationale
    loss.alpha_cl = 0.5  # alpha_2 of eq. 8
    loss.alpha_disc = 0.5  # alpha_3 of eq. 8
    loss.alpha_disc_decay = 0.9  # factor on alpha_3 per iteration (section 4.1)
    loss.beta = 0.2  # weight of the negative term (eq. 3)
    loss.margin = 3.0  # delta, nats per token (section 3.3.2)
    loss.scheme = 'min_max'  # min_max | max_min | sampling | mean | weighted_mean (Table 5)
    loss.discriminator = 'ratio'  # ratio (eq. 2) | info_nce | bce
    return loss


def _mi() -> config_dict.ConfigDict:
    mi = config_dict.ConfigDict()
    mi.weight = 0.1  # of MI's term in the methods mi and mi_qcrd (its beta)
    mi.variant = 'official'  # official (what its code computes) | masked (what its text says)
    return mi


def _preference() -> config_dict.ConfigDict:
    preference = config_dict.ConfigDict()  # of the rivals, on QCRD's pairs; see losses.preference
    preference.redi_weight = 0.8  # alpha: of the negative's mean log-probability
    preference.spin_beta = 0.1  # lambda, per nat
    preference.dpo_beta = 0.1  # per nat
    preference.dpo_smoothing = 0.0  # probability that a pair is the wrong way round
    preference.simpo_beta = 2.0  # per nat per token
    preference.simpo_gamma_ratio = 0.5  # gamma / beta, nats per token
    preference.orpo_weight = 0.1  # lambda: of the odds ratio
    preference.kto_beta = 0.1  # per nat
    preference.unlikelihood_weight = 1.0  # of the negative's term
    preference.anchor = 1.0  # of the positive's cross-entropy beside spin, dpo, simpo and kto,
    # whose papers begin with a student that was fine-tuned on positives; 0: their loss alone
    preference.advantage_temperature = 1.0  # advdistill: of the softmax of advantages
    return preference


def _optimizer() -> config_dict.ConfigDict:
    optimizer = config_dict.ConfigDict()
    optimizer.learning_rate = 5e-5  # AdamW (section 4.1)
    optimizer.schedule = 'linear'  # linear (to zero at the last step) | constant
    optimizer.warmup_steps = 0  # steps
    optimizer.weight_decay = 0.0  # AdamW's, as DSS's trainer had
    optimizer.clip_norm = 1.0  # of the global gradient norm
    optimizer.b1 = 0.9  # AdamW
    optimizer.b2 = 0.999  # AdamW
    optimizer.eps = 1e-8  # AdamW
    return optimizer


def _train() -> config_dict.ConfigDict:
    train = config_dict.ConfigDict()
    train.steps = 10000  # optimiser steps (section 4.1)
    train.epochs = 0.0  # passes over the training questions, in place of `steps`; 0: `steps` counts
    train.patience = 0  # validations in a row without a better student after which the run ends;
    # 0: it takes all its steps
    train.batch_size = 8  # questions (section 4.1)
    train.log_every = 50  # steps between lines of metrics.jsonl
    train.evaluate_every = 500  # steps between validations
    train.checkpoint_every = 50  # steps between checkpoints, at least
    train.checkpoint_minutes = 1.0  # minutes between checkpoints, at least; the last step has one
    train.shapes = 4  # of batches, at most: each is compiled, and with more of them less is padding
    train.accumulate = 1  # parts of a batch whose gradients are added up one by one: less memory
    train.remat = 'none'  # none | layers: compute a layer's activations once more for the gradient,
    # in place of keeping them; less memory, more time
    train.on_nonfinite = 'stop'  # stop | skip (the update is not applied, and counted)
    train.nonfinite_limit = 10  # steps in a row that `skip` passes over; then the run ends, as it
    # does when it passed over more than half of the steps between two lines of metrics.jsonl
    train.restart = False  # where checkpoints are lost or damaged, set what is left aside and start
    # anew; a checkpoint that is whole is resumed all the same
    train.keep_state = False  # keep ring and moments in the last checkpoint of a finished run
    train.share_pretraining = True  # keep the pretrained discriminator in `data.cache`, where that
    # is named, for runs that would pretrain the same; it takes 12 bytes a parameter
    train.wandb = ''  # project of Weights & Biases that gets the numbers too; '': none
    train.deterministic = False  # the same bits from every run on a GPU, at a price in time
    return train


def _mesh() -> config_dict.ConfigDict:
    mesh = config_dict.ConfigDict()
    mesh.data = -1  # devices that share the questions of a batch, each with all parameters that its
    # part of `fsdp` holds; -1: as many as there are
    mesh.fsdp = 1  # devices that share questions and, of parameters, moments and ring, hold a part
    return mesh


def _evaluation() -> config_dict.ConfigDict:
    evaluation = config_dict.ConfigDict()
    evaluation.batch_size = 32  # questions per batch, as rationales are scored
    evaluation.together = 128  # questions that are decoded at once
    evaluation.max_length = 64  # tokens of a predicted label, as DSS generates
    evaluation.examples = 12  # test questions in the report whose rationales are sampled and scored
    evaluation.temperatures = (1.5, 2.0)  # of the student's samples in the score densities (Fig. 6)
    evaluation.rationales = (0.7,)  # temperatures of the rationales in predictions.jsonl beside the
    # greedy ones, for the judge (Table 7)
    evaluation.case_temperatures = (0.0, 0.7, 1.5, 2.0)  # of the student's rationales in the case
    # study (Fig. 5); 0: greedy
    return evaluation


def _teacher() -> config_dict.ConfigDict:
    teacher = config_dict.ConfigDict()
    teacher.base_url = ''  # OpenAI-compatible server; '': $OPENAI_BASE_URL, else OpenAI's own
    teacher.model = ''  # '': $OPENAI_MODEL, else gpt-3.5-turbo (section 4.1)
    teacher.key_variable = 'OPENAI_API_KEY'  # environment variable that holds the key
    teacher.through = 'server'  # server | batch (files for a batch runner, docs/teacher.md)
    teacher.choices = 1  # samples that one request of a batch asks for, which share its prompt
    teacher.prompt = ''  # text file of the few-shot prompt; '': the dataset's own
    teacher.temperature = 0.7  # of the K samples (section 4.1)
    teacher.max_tokens = 512  # tokens of one answer
    teacher.extra = ''  # JSON object of further fields of a request, '{"top_p": 0.9}'; null removes
    teacher.splits = ('train', 'validation', 'test')  # to annotate
    teacher.limit = 0  # questions per split, the first ones; 0: all
    teacher.concurrency = 8  # requests in flight
    teacher.timeout = 60.0  # seconds per request
    teacher.attempts = 6  # per sample, before it is left to the next run
    teacher.input_price = 0.0  # USD per million tokens
    teacher.output_price = 0.0  # USD per million tokens
    teacher.budget = 0.0  # USD that the workdir may cost in all; 0: no limit
    teacher.max_tokens_total = 0  # tokens, in and out, that it may take in all; 0: no limit
    return teacher


def _judge() -> config_dict.ConfigDict:
    judge = config_dict.ConfigDict()
    judge.runs = ('', '')  # workdirs A and B whose rationales are compared (section 5.4)
    judge.questions = 50  # drawn at random (section 5.4)
    judge.seed = 0  # of the draw
    judge.rationales = 'rationale'  # field of predictions.jsonl: rationale | rationale_t0.7, ...
    judge.prompt = ''  # text file; '': that of Table A4
    judge.temperature = 0.0  # of the judge's answer
    judge.max_tokens = 256  # tokens of the judge's answer
    return judge


def _pairs() -> config_dict.ConfigDict:
    pairs = config_dict.ConfigDict()
    pairs.format = 'standard'  # standard (texts) | conversational (messages), as TRL calls them
    pairs.splits = ('train',)  # of whose questions preferences are written
    pairs.most = 0  # pairs per question, drawn at random; 0: all
    return pairs


def _reproduce() -> config_dict.ConfigDict:
    reproduce = config_dict.ConfigDict()
    reproduce.name = ''  # stem of the table's files
    reproduce.title = ''  # of the table
    reproduce.caption = ''  # what the paper's table is
    reproduce.unit = 'accuracy, %'  # of the values
    reproduce.kind = 'table'  # table | curve (the columns are numbers on an axis)
    reproduce.baseline = ''  # row that the others are tested against; '': none
    reproduce.higher_is_better = True  # of the values
    reproduce.cells = ()  # the grid, see qcrd_jax/grid.py
    reproduce.sweep = ()  # in place of a grid: fields and their values, in all combinations, as
    # ('optimizer.learning_rate=1e-4,3e-4', 'train.batch_size=8,16')
    reproduce.panel = 'none'  # none | case_study (Fig. 5) | scores (Fig. 6)
    reproduce.rows = ()  # only run these rows; (): all
    reproduce.columns = ()  # only run these columns; (): all
    reproduce.seeds = (0, 1, 2, 3, 4)  # of every cell
    reproduce.detect = 0.0  # points: say how many seeds or questions it takes to see such a
    # difference; 0: not
    reproduce.together = 0  # seeds in one program; 0: as many as memory holds, 1: one by one
    reproduce.keep = 'students'  # results | students | everything (checkpoints too) of a done run
    reproduce.models = ''  # folder of checkpoints named as on the Hub; '': the Hub
    reproduce.dry_run = False  # say what would be run, and write the report of what is there
    return reproduce
