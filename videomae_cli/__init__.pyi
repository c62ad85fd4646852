from .api.attend import VideoAttention as VideoAttention
from .api.attend import attend as attend
from .api.classifier import VideoClassifier as VideoClassifier
from .api.classifier import load_classifier as load_classifier
from .api.embedder import VideoEmbedder as VideoEmbedder
from .api.embedder import load_embedder as load_embedder
from .api.evaluate import evaluate as evaluate
from .api.footage import demo_clip as demo_clip
from .api.footage import find_videos as find_videos
from .api.reconstruct import VideoReconstruction as VideoReconstruction
from .api.reconstruct import reconstruct as reconstruct
from .api.similar import find_duplicates as find_duplicates
from .api.similar import similar as similar
from .errors import VideoMAEError as VideoMAEError
from .evaluation import Evaluation as Evaluation
from .hub.source import download as download
from .results import Classification as Classification
from .results import Embedding as Embedding
from .results import Prediction as Prediction
from .results import Segment as Segment
from .results import Timeline as Timeline
from .training import Trained as Trained
from .training import TrainingListener as TrainingListener
from .training import finetune as finetune
from .training import pretrain as pretrain
from .video import open_video as open_video

__version__: str
