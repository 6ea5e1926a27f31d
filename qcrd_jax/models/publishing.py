"""Publishing the folder of a student on the Hugging Face Hub."""

import pathlib

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.utils import validate_repo_id

from qcrd_jax.errors import InputError, reason


def publish(folder: pathlib.Path, repository: str, *, private: bool = True) -> str:
    """Uploads a folder to a repository of the Hub, which is made where there is none.

    The token comes from the environment (HF_TOKEN) or from `hf auth login`, and the endpoint from
    HF_ENDPOINT, as with everything of `huggingface_hub`.

    Args:
      folder: what `huggingface.save_student` wrote.
      repository: `<user or organisation>/<name>`.
      private: whether a repository that is made is for its owners alone.

    Returns:
      The address of the commit.

    Raises:
      InputError: if the name is none, there is no network, or the Hub refuses.
    """
    try:
        validate_repo_id(repository)
    except ValueError as error:
        raise InputError(
            f'--push: expected <user>/<name>, got {repository!r} ({error}).'
        ) from error
    api = huggingface_hub.HfApi(endpoint=constants.ENDPOINT, library_name='qcrd_jax')
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message='A student distilled by qcrd_jax'
        )
    except Exception as error:  # of the HTTP library that huggingface_hub has, which changed twice
        why = reason(error)
        raise InputError(
            f'--push: {repository} could not be written at {constants.ENDPOINT} ({why}). '
            f'The student is in {folder}, nothing is lost. Set HF_TOKEN to a token that may write '
            f'there, or upload the folder from elsewhere: hf upload {repository} {folder}'
        ) from error
    return str(commit.commit_url)
