"""What one peer does with a picture, in the peer's own environment: numpy and that peer's packages, nothing else.

Each adapter is what the peer's own documentation shows: detect, align, encode every face. One thread each. `faces` returns
(centre of the face (x, y) in pixels, embedding) for every face that the peer found and encoded; the embeddings of one peer are
compared by `score`, higher = more alike.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Found = list[tuple[tuple[float, float], Any]]
ALIGNED = np.array(  # the five points of a 112x112 chip (ArcFace, MobileFaceNet, SFace)
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)


class Peer:
    """bgr: the peer takes BGR, as OpenCV's cameras give it; the conversion is not measured."""

    bgr = False
    files: tuple[Path, ...] = ()  # weights outside the packages

    def faces(self, picture: Any) -> Found:
        raise NotImplementedError

    def score(self, references: Any, probe: Any) -> Any:
        """Scores (N,) of a probe against references (N, D): cosine of unit vectors."""
        return references @ probe

    def decide(self, picture: Any, references: Any) -> int:
        """Detect, encode and compare every face with the references; the number of faces."""
        found = self.faces(picture)
        for _, vector in found:
            int(np.argmax(self.score(references, vector)))
        return len(found)


class FaceRecognition(Peer):
    """face_recognition with its default settings: dlib's HOG detector, five landmarks, ResNet."""

    dimension = 128

    def __init__(self, data: Path) -> None:
        import face_recognition

        self._api = face_recognition

    def faces(self, picture: Any) -> Found:
        boxes = self._api.face_locations(picture)
        vectors = self._api.face_encodings(picture, boxes)
        centres = [((left + right) / 2, (top + bottom) / 2) for top, right, bottom, left in boxes]
        return list(zip(centres, vectors, strict=True))

    def score(self, references: Any, probe: Any) -> Any:
        return -self._api.face_distance(references, probe)


class YuNet(Peer):
    """OpenCV's YuNet at the size of the picture, and MobileFaceNet by ONNX Runtime: what a short script would do."""

    bgr, dimension = True, 128
    MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, data: Path) -> None:
        import cv2
        import onnxruntime

        self._cv2 = cv2
        cv2.setNumThreads(1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.files = (data / "weights/yunet_n_320_320.onnx", data / "weights/teacher_mobilefacenet.onnx")
        self._detector = cv2.FaceDetectorYN.create(str(self.files[0]), "", (320, 320), 0.7, 0.3, 5000)
        self._session = onnxruntime.InferenceSession(str(self.files[1]), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._mean, self._std = np.float32(self.MEAN) * 255, np.float32(self.STD) * 255

    def faces(self, picture: Any) -> Found:
        self._detector.setInputSize((picture.shape[1], picture.shape[0]))
        _, rows = self._detector.detect(picture)
        found: Found = []
        for row in rows if rows is not None else ():
            points = row[4:14].reshape(5, 2)
            matrix, _ = self._cv2.estimateAffinePartial2D(points, ALIGNED, method=self._cv2.LMEDS)
            chip = self._cv2.warpAffine(picture, matrix, (112, 112))[..., ::-1]
            chip = ((chip.astype(np.float32) - self._mean) / self._std).transpose(2, 0, 1)[None]
            vector = self._session.run(None, {self._input: chip})[0][0]
            found.append(((row[0] + row[2] / 2, row[1] + row[3] / 2), vector / np.linalg.norm(vector)))
        return found


class InsightFace(Peer):
    """insightface's FaceAnalysis with its smallest pack, buffalo_sc (SCRFD 500M, MobileFaceNet)."""

    bgr, dimension = True, 512

    def __init__(self, data: Path) -> None:
        from insightface.app import FaceAnalysis

        self._app = FaceAnalysis(name="buffalo_sc", providers=["CPUExecutionProvider"])
        self._app.prepare(ctx_id=-1, det_size=(640, 640))

    def faces(self, picture: Any) -> Found:
        centre: Callable[[Any], tuple[float, float]] = lambda b: ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2)  # noqa: E731
        return [(centre(face.bbox), face.normed_embedding) for face in self._app.get(picture)]


class DeepFace(Peer):
    """deepface with YuNet and SFace, its lightest pair."""

    bgr, dimension = True, 128

    def __init__(self, data: Path) -> None:
        from deepface import DeepFace as Api

        self._api = Api
        self.faces(np.zeros((112, 112, 3), np.uint8))  # loads the weights

    def faces(self, picture: Any) -> Found:
        options = {"model_name": "SFace", "detector_backend": "yunet", "enforce_detection": False}
        found: Found = []
        for face in self._api.represent(picture, **options):
            area, vector = face["facial_area"], np.float32(face["embedding"])
            found.append(((area["x"] + area["w"] / 2, area["y"] + area["h"] / 2), vector / np.linalg.norm(vector)))
        return found


ADAPTERS: dict[str, type[Peer]] = {
    "face_recognition": FaceRecognition,
    "yunet": YuNet,
    "insightface": InsightFace,
    "deepface": DeepFace,
}
