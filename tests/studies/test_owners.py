"""An owner's folder holds exactly the pictures and captions that it was made of."""

import numpy as np
import pytest

from sfumato.owner.folder import read_folder
from sfumato.pictures import store
from sfumato.studies.owners import OWNERS, write_folder


@pytest.mark.parametrize("pool", OWNERS.values())
def test_what_is_written_is_read_back(pool, tmp_path):
    pictures = store.load("open-peeps", pool, 5, seed=3, per_identity=2, cache=tmp_path / "cache")
    folder = read_folder(write_folder(pictures, tmp_path / "owner"), size=64, condition="canny")
    loaded = [folder.load(example) for example in folder]
    assert [item.caption for item in loaded] == pictures.captions and folder.captioned == 5
    assert np.array_equal(np.stack([item.image for item in loaded]), pictures.images)


def test_a_folder_that_is_there_is_not_written_into(tmp_path):
    pictures = store.load("open-peeps", "recombined", 1, seed=3, cache=tmp_path / "cache")
    write_folder(pictures, tmp_path / "owner")
    with pytest.raises(FileExistsError):
        write_folder(pictures, tmp_path / "owner")
