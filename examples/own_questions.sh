#!/usr/bin/env bash
# Distil one's own questions: an LLM answers each of them five times, a small student learns from it.
#
#   export OPENAI_BASE_URL=http://localhost:8000/v1 OPENAI_MODEL=... OPENAI_API_KEY=...
#   examples/own_questions.sh questions.jsonl equation runs/own
#
# questions.jsonl: a line {"id": "1", "input": "...", "label": "..."} for each question.
# equation: how answers are compared: equation, choice, class or text.
# Whatever follows is handed on: --config.student.pretrained=<folder> for a student that knows English.
# Any local server that speaks OpenAI's protocol will do, such as vLLM's, llama.cpp's or
# `transformers serve` (docs/teacher.md). Killed at any point, the same command goes on.
set -euo pipefail

questions=${1:?name a file of JSON lines with "id", "input" and "label"}
answers=${2:?say how answers are compared: equation, choice, class or text}
workdir=${3:-runs/own}
shift "$(($# < 3 ? $# : 3))"

own=(--config=own "--workdir=$workdir" "--config.data.source=$questions"
  "--config.data.answer_type=$answers" "$@")
taught=(--config.data.teacher_samples="$workdir/annotations.jsonl")

qcrd "${own[@]}" --mode=annotate            # K = 5 answers a question, each recorded once
qcrd "${own[@]}" "${taught[@]}" --mode=prepare  # how many can be read, and how many are right
qcrd "${own[@]}" "${taught[@]}"             # train, select, test, export, report
head -n 3 "$questions" | qcrd "--workdir=$workdir" --mode=predict
