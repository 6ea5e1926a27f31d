r"""What a chat model says, without what its template and its thinking leave in a raw text.

Servers and files of completions keep more than the answer: blocks in which a model thinks before it
speaks, tokens of the chat template, and whole turns after the model's own. The rules stand for
families of templates (ChatML, Llama 3, Mistral, Gemma, Phi, Cohere, GPT-OSS), not for one of them.
"""

import re

# A block of thinking. `<reasoning>` is none: it is what a prompt asks for, and is said.
_THINKING = re.compile(
    r"""
      <(?P<close>/)?(?:seed:)?(?:think|thinking|thought|thoughts|scratchpad)(?:\s[^<>\n]{0,80})?>
    | ◁(?P<close_kimi>/)?think▷
    | \[(?P<close_mistral>/)?THINK\]
    | <\|(?:(?P<close_cohere>END)_THINKING|START_THINKING)\|>
    | <\|(?:(?P<close_sky>end)|begin)_of_thought\|>
    """,
    re.VERBOSE | re.IGNORECASE,
)
_FINAL = re.compile(r'<\|channel\|>\s{0,8}final[^<\n]{0,80}<\|message\|>')  # GPT-OSS's harmony
_CHANNEL = '<|channel|>'
_OWN_TURN = re.compile(
    r'\s*(?:<s>|<\|begin_of_text\|>|<bos>|\s){0,4}(?:<\|im_start\|>|<\|start_header_id\|>|<start_of_turn>|<\|start\|>)\s{0,8}'
    r'(?:assistant|model)\s{0,8}(?:<\|end_header_id\|>|\n|(?=<\|))',
    re.IGNORECASE,
)
_END = re.compile(  # of the model's turn: what follows is nobody's answer
    r'<\|(?:im_end|eot_id|eom_id|end|endoftext|end_of_text|end_of_turn|END_OF_TURN_TOKEN|return|call|'
    r'user|im_start|start_header_id|start)\|>|<end_of_turn>|<start_of_turn>|<eos>|\[INST\]'
    r'|<｜(?:end▁of▁sentence|User)｜>'  # DeepSeek's
)
_TOKEN = re.compile(
    r'<\|[A-Za-z0-9_]{1,40}\|>|<｜[A-Za-z0-9_▁]{1,40}｜>|</?s>|<(?:bos|pad|unk|extra_id_[0-9]{1,2})>|\[/INST\]'
)


def spoken(text: str) -> str:
    r"""Returns what the model says: no thinking, no tokens of the template, no turn but its own.

    A block of thinking that never ends is dropped to the end of the text. One that was begun in the
    prompt ends here without a beginning; all before its end is dropped.

    Args:
      text: as a server sent it or a file holds it.

    Examples:
      >>> spoken('<think>\n11? No.\n</think>\n\nThe answer is 12.<|im_end|>')
      'The answer is 12.'
      >>> spoken('<think>Hmm, let me'), spoken('11? No.</think>12')
      ('', '12')
    """
    if not any(mark in text for mark in '<[◁'):
        return text
    if _CHANNEL in text:
        channels = _FINAL.split(text)
        text = channels[-1] if len(channels) > 1 else ''
    if own := _OWN_TURN.match(text):
        text = text[own.end() :]
    text = _END.split(_without_thinking(text), maxsplit=1)[0]
    return _TOKEN.sub('\n', text).strip()


def _without_thinking(text: str) -> str:
    parts: list[str] = []
    depth = start = 0
    for tag in _THINKING.finditer(text):
        if depth == 0:
            parts.append(text[start : tag.start()])
        if tag.lastgroup is None:
            depth += 1
        elif depth:
            depth -= 1
        else:
            parts = []  # its beginning was part of the prompt
        start = tag.end()
    if depth == 0:
        parts.append(text[start:])
    return ''.join(parts) if len(parts) > 1 or depth else text[start:]
